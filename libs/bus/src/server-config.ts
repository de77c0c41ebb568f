import { permissions, userName, type Service } from './permissions.js';

export interface ServerUser { readonly service: Service; readonly password: string; /** Default: the service's name, `host-agent-<host>` for an agent. */ readonly user?: string }

export interface ServerConfig {
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  readonly storeDir: string;
  /** Without users anybody may do everything: for a bench on loopback only. */
  readonly users?: readonly ServerUser[];
  /** `always` makes an acknowledged decision outlive a crash of the operating system; about 0.4 ms per append on a fast disk. Default: always. */
  readonly sync_interval?: 'always' | string;
  /** Default 16 GiB. */
  readonly store_bytes?: number;
  readonly serverName?: string;
  /** Port on loopback for health checks (`/healthz`). Default: none. */
  readonly monitor_port?: number;
}

/** A configuration file for one nats-server, each user with the rights of its service and nothing else. JSON, which the server reads. */
export function serverConfig(config: ServerConfig): string {
  const users = config.users?.map(({ service, password, user = userName(service) }) => {
    const { publish, subscribe, responds } = permissions(service, user);
    return { user, password, permissions: { publish: { allow: publish }, subscribe: { allow: subscribe }, ...(responds ? { allow_responses: { max: 1, expires: '1m' } } : {}) } };
  });
  return `${JSON.stringify({
    listen: `${config.host ?? '127.0.0.1'}:${config.port}`,
    server_name: config.serverName ?? 'virtcft',
    ...(config.monitor_port === undefined ? {} : { http: `127.0.0.1:${config.monitor_port}` }),
    max_payload: 1_048_576 + 65_536,
    jetstream: { store_dir: config.storeDir, max_file_store: config.store_bytes ?? 17_179_869_184, sync_interval: config.sync_interval ?? 'always' },
    ...(users ? { authorization: { users } } : {}),
  }, null, 2)}\n`;
}
