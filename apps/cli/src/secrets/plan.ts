import { serverConfig, userName, type Service } from '@virtcft/bus';

/** A file of an installation's secrets, below its folder. */
export interface SecretFile { readonly path: string; readonly content: string | Buffer; readonly mode: number; /** Whose it is, where the command may say so. */ readonly owner?: number }

/** Random secrets as text; `bytes` of randomness each. */
export interface Randomness { text(bytes: number): string; bytes(count: number): Buffer }

/** Where the bus is in its container or on its machine. */
export interface BusPlace { readonly host: string; readonly port: number; readonly storeDir: string; readonly monitor_port: number }

/** How the store's next key is named: by its day, with something random behind. */
export interface StoreKeyPlan { readonly rotate: boolean; readonly day: string }

/** Services that write to the object store, each with a user of its own there. */
export const storeUsers = ['coordinator', 'replica-store'] as const;

// The folder is closed (0700): files in it are readable so that a service that is not root can read the one that is mounted for it.
const READABLE = 0o444;
const OWN = 0o600;
/** The user `node` of the images that docker/Dockerfile makes: their services are not root. */
const SERVICE_USER = 1000;

const busUsers = (hosts: readonly string[]): readonly Service[] => ['coordinator', 'failover', 'replica-store', 'operator', 'consumer', ...hosts.map((host): Service => `host-agent:${host}`)];
export const passwordPath = (user: string): string => `bus/${user}.password`;
const credentialsPath = (user: string): string => `store/${user}.credentials`;

/**
 * Every secret file of an installation. What `existing` has is kept, so that a second run changes nothing and a run with another host adds its
 * user; what follows from the others (the configuration of the bus, the list of the store's users) is written anew.
 */
export function planSecrets(hosts: readonly string[], bus: BusPlace, existing: (path: string) => string | null, random: Randomness, store: StoreKeyPlan): SecretFile[] {
  const made: SecretFile[] = [];
  const secret = (path: string, make: () => string): string => {
    const kept = existing(path);
    if (kept !== null) return kept.trim();
    const content = make();
    made.push({ path, content: `${content}\n`, mode: READABLE });
    return content;
  };
  const users = busUsers(hosts).map((service) => ({ service, password: secret(passwordPath(userName(service)), () => random.text(24)) }));
  made.push({ path: 'bus/nats.conf', content: serverConfig({ ...bus, users }), mode: READABLE });
  secret('store/root.user', () => `root-${random.text(6)}`);
  secret('store/root.password', () => random.text(24));
  const keys = storeUsers.map((user) => {
    const text = secret(credentialsPath(user), () => `[default]\naws_access_key_id = ${user}\naws_secret_access_key = ${random.text(20)}`);
    return `${user} ${/aws_secret_access_key = (\S+)/.exec(text)?.[1] ?? ''}\n`;
  });
  made.push({ path: 'store/users', content: keys.join(''), mode: READABLE });
  if (existing('tunnel-secret') === null) made.push({ path: 'tunnel-secret', content: random.bytes(32), mode: OWN });
  const kept = existing('store/keys');
  if (kept === null || store.rotate) made.push({ path: 'store/keys', content: withNewKey(kept ?? '', `${store.day}-${random.text(3)}`, random.text(32)), mode: OWN, owner: SERVICE_USER });
  return made;
}

/** The file of the store's keys with one more, which is the current one. What else is in it stays. */
function withNewKey(text: string, name: string, secret: string): string {
  const others = text.split('\n').filter((line) => line.trim() !== '' && !line.trimStart().startsWith('current'));
  const head = others.length === 0 ? ['# Keys of the object store. A key that is lost takes the objects that it sealed with it: keep a copy elsewhere, closed.'] : [];
  return `${[...head, ...others, `key ${name} ${secret}`, `current ${name}`].join('\n')}\n`;
}
