/**
 * `hive admin account|user|key …`: tenants, their users and their keys.
 *
 * Each is a call to identity, which does it by compare-and-set; asked again, `account create` gives what
 * it made. Secrets are printed once, where nothing else prints them.
 */
import type { Bus } from "../../../services/bus/bus.ts";
import {
  type AccountCall,
  accountCall,
  createAccount,
  type GivenAdminKey,
  isAccessKey,
  listAccounts,
} from "../../../services/identity/contract.ts";
import { CommandError, dataDirOption, jsonOption, parse } from "../../terminal/command.ts";
import { table } from "../../terminal/table.ts";
import type { HiveCommand } from "../hive_command.ts";
import { busOf, nodeOf, type NodeOfCommand } from "../node.ts";
import { profileText } from "./profile.ts";
import { quotaCommand } from "./quota.ts";

const defaultAccount = "main";
const administrator = "arn:aws:iam::aws:policy/AdministratorAccess";

const accountOption = {
  account: {
    type: "string",
    value: "NAME",
    help: `The account's name or id (default: ${defaultAccount})`,
  },
} as const;

type Key = Omit<GivenAdminKey, "version">;

function tell(
  node: NodeOfCommand,
  json: boolean | undefined,
  profile: string,
  about: Readonly<Record<string, string>>,
  key: Key,
): void {
  if (json === true) {
    console.log(JSON.stringify({ ...about, ...key }, null, 2));
    return;
  }
  for (const [name, value] of Object.entries(about)) console.log(`# ${name}: ${value}`);
  console.log(profileText(node.config, node.paths, profile, key));
}

/** Runs one IAM action in an account; what comes back has the shape of AWS's answer. */
async function iam<T>(
  bus: Bus,
  account: string,
  action: AccountCall["action"],
  input: Readonly<Record<string, unknown>>,
): Promise<T> {
  return await bus.ask(accountCall, { account, action, input }) as T;
}

interface CreatedKey {
  readonly AccessKey: {
    readonly AccessKeyId: string;
    readonly SecretAccessKey: string;
  };
}

async function newKey(bus: Bus, account: string, user: string): Promise<Key> {
  const { AccessKey: made } = await iam<CreatedKey>(bus, account, "CreateAccessKey", {
    UserName: user,
  });
  return { access_key_id: made.AccessKeyId, secret_access_key: made.SecretAccessKey };
}

/** A secret never stands on a command line, where everybody on the machine can read it. */
async function importedKey(id: string | undefined): Promise<GivenAdminKey | undefined> {
  if (id === undefined) return undefined;
  const secret_access_key = (await new Response(Deno.stdin.readable).text()).trim();
  const key = { access_key_id: id, secret_access_key };
  if (!isAccessKey(key)) {
    throw new CommandError(
      `${id} with what came on standard input is no access key; give its id with --import-key and ` +
        `its secret, 40 characters or more, on standard input.`,
      2,
    );
  }
  return key;
}

const accountCreate: HiveCommand = {
  words: ["admin", "account", "create"],
  summary: "Make a tenant's account and print its administrator's AWS profile",
  async run(args) {
    const parsed = parse(
      {
        name: "hive admin account create",
        summary: "Makes an account with an administrator; asked again, gives what it made.",
        arguments: "<name>",
        options: {
          "import-key": {
            type: "string",
            value: "ID",
            help: "Take over this access key id; its secret is read from standard input",
          },
          ...jsonOption,
          ...dataDirOption,
        },
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const [name = ""] = parsed.positionals;
    const import_key = await importedKey(parsed.options["import-key"]);
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const made = await bus.ask(createAccount, {
      name,
      ...(import_key === undefined ? {} : { import_key }),
    });
    const { account_id, ...key } = made;
    tell(node, parsed.options.json, name, { account: name, account_id, user: "admin" }, key);
  },
};

const accountList: HiveCommand = {
  words: ["admin", "account", "list"],
  summary: "All accounts",
  async run(args) {
    const parsed = parse({
      name: "hive admin account list",
      summary: "Lists all accounts.",
      options: { ...jsonOption, ...dataDirOption },
    }, args);
    if (parsed === undefined) return;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const accounts = [...await bus.ask(listAccounts, null)].sort((a, b) =>
      a.name < b.name ? -1 : 1
    );
    if (parsed.options.json === true) {
      console.log(JSON.stringify(accounts, null, 2));
      return;
    }
    console.log(table(
      ["ACCOUNT", "ID", "STATUS", "USERS", "CREATED"],
      accounts.map((each) => [
        each.name,
        each.account_id,
        each.status,
        String(each.users),
        each.created,
      ]),
    ));
  },
};

const userCreate: HiveCommand = {
  words: ["admin", "user", "create"],
  summary: "Make a user with an access key in an account",
  async run(args) {
    const parsed = parse(
      {
        name: "hive admin user create",
        summary: "Makes a user with an access key and prints its AWS profile.",
        arguments: "<name>",
        options: {
          ...accountOption,
          policy: {
            type: "string",
            value: "ARN",
            help: `ARN of a policy to attach (default: AdministratorAccess; "none" for no policy)`,
          },
          ...jsonOption,
          ...dataDirOption,
        },
      },
      args,
      { min: 1 },
    );
    if (parsed === undefined) return;
    const [user = ""] = parsed.positionals;
    const account = parsed.options.account ?? defaultAccount;
    const policy = parsed.options.policy ?? administrator;
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    await iam(bus, account, "CreateUser", { UserName: user });
    try {
      if (policy !== "none") {
        await iam(bus, account, "AttachUserPolicy", { UserName: user, PolicyArn: policy });
      }
      const key = await newKey(bus, account, user);
      tell(node, parsed.options.json, user, { account, user }, key);
    } catch (error) {
      // A policy that is not there: the user that nobody can use is not left behind.
      await iam(bus, account, "DeleteUser", { UserName: user }).catch(() => {});
      throw error;
    }
  },
};

interface ListedKeys {
  readonly AccessKeyMetadata: readonly {
    readonly AccessKeyId: string;
    readonly Status: string;
    readonly CreateDate: string;
  }[];
}

const keyRotate: HiveCommand = {
  words: ["admin", "key", "rotate"],
  summary: "Give a user a new access key, then retire the old one",
  async run(args) {
    const parsed = parse({
      name: "hive admin key rotate",
      summary: "Makes a second access key for a user; with --retire deletes the older one.",
      options: {
        ...accountOption,
        user: { type: "string", value: "NAME", help: "The user's name (default: admin)" },
        retire: { type: "boolean", help: "Delete the older of two keys instead of making one" },
        ...jsonOption,
        ...dataDirOption,
      },
      notes: [
        "First without --retire; when everything uses the new key, again with --retire.",
      ],
    }, args);
    if (parsed === undefined) return;
    const account = parsed.options.account ?? defaultAccount;
    const user = parsed.options.user ?? "admin";
    const node = await nodeOf(parsed.options["data-dir"]);
    await using bus = await busOf(node);
    const { AccessKeyMetadata: keys } = await iam<ListedKeys>(bus, account, "ListAccessKeys", {
      UserName: user,
    });
    const [oldest] = keys;
    if (parsed.options.retire === true) {
      if (oldest === undefined || keys.length < 2) {
        throw new CommandError(
          `${user} has one access key only, which stays; run this without --retire first.`,
        );
      }
      const AccessKeyId = oldest.AccessKeyId;
      await iam(bus, account, "DeleteAccessKey", { UserName: user, AccessKeyId });
      console.log(
        parsed.options.json === true
          ? JSON.stringify({ account, user, retired: AccessKeyId }, null, 2)
          : `The access key ${AccessKeyId} of ${user} is deleted; nobody can use it any more.`,
      );
      return;
    }
    if (keys.length >= 2) {
      throw new CommandError(
        `${user} has two access keys already; \`hive admin key rotate --retire\` deletes the ` +
          `older one, ${oldest?.AccessKeyId}.`,
      );
    }
    const key = await newKey(bus, account, user);
    tell(node, parsed.options.json, user, {
      account,
      user,
      ...(oldest === undefined ? {} : { older_key: oldest.AccessKeyId }),
    }, key);
  },
};

export const accountCommands: readonly HiveCommand[] = [
  accountCreate,
  accountList,
  userCreate,
  keyRotate,
  quotaCommand,
];
