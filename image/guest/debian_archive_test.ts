import assert from "node:assert/strict";
import { mirrorsOf, parseSources, sourcesFile } from "./debian_archive.ts";

Deno.test("both forms of apt's source files are read, with options, comments and disabled stanzas", () => {
  assert.deepEqual(
    parseSources(
      "# deb http://old/debian trixie main\ndeb [signed-by=/k.gpg] http://a/debian/ trixie main\n",
    ),
    [{ uri: "http://a/debian", suite: "trixie" }],
  );
  const stanzas = [
    "Types: deb\n# remark\nURIs: http://b/debian\nSuites: trixie trixie-updates\nComponents: main",
    "Types: deb-src\nURIs: http://c/debian\nSuites: trixie",
    "Enabled: no\nTypes: deb\nURIs: http://d/debian\nSuites: trixie",
  ];
  assert.deepEqual(parseSources(stanzas.join("\n\n")), [
    { uri: "http://b/debian", suite: "trixie" },
    { uri: "http://b/debian", suite: "trixie-updates" },
  ]);
});

Deno.test("the machine's own mirrors are taken, whatever else it has for sources", () => {
  assert.deepEqual(
    mirrorsOf([
      "deb https://deb.nodesource.com/node_20.x nodistro main",
      "deb http://mirror.lan/debian-security bookworm-security main\ndeb http://mirror.lan/debian bookworm main",
    ]),
    { debian: "http://mirror.lan/debian", security: "http://mirror.lan/debian-security" },
  );
});

Deno.test("a machine without Debian sources, or with a cdrom only, gets Debian's own archive", () => {
  const own = {
    debian: "http://deb.debian.org/debian",
    security: "http://deb.debian.org/debian-security",
  };
  assert.deepEqual(mirrorsOf([]), own);
  assert.deepEqual(mirrorsOf(["deb cdrom:[Debian 12]/ bookworm main"]), own);
});

Deno.test("what is written for apt reads back as the release, its updates and its security archive", () => {
  const text = sourcesFile("trixie", { debian: "http://a/debian", security: "http://b/security" });
  assert.deepEqual(parseSources(text), [
    { uri: "http://a/debian", suite: "trixie" },
    { uri: "http://a/debian", suite: "trixie-updates" },
    { uri: "http://b/security", suite: "trixie-security" },
  ]);
  assert.equal(
    text.match(/Signed-By: \/usr\/share\/keyrings\/debian-archive-keyring.gpg/g)?.length,
    2,
  );
});
