#!/bin/sh
# User data as a script: run once per instance, as root, after SSH is up. Any guest takes this form.
#
#   aws ec2 run-instances … --user-data file://cloud-init/guest/script.sh
#
# What it prints goes to the serial console (`aws ec2 get-console-output`).
set -eu

mkdir -p /srv/hello
echo "Hello from $(hostname)" >/srv/hello/message
cat /srv/hello/message
