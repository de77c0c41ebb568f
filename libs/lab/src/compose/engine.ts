import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabUnavailable, Namespaces } from '../namespaces.js';
import { Program } from '../program.js';
import { limits } from './limits.js';

/** Addresses that slirp4netns gives a namespace and answers names at. */
const NAMES_AT = '10.0.2.3';

export interface EngineOptions {
  /** Images and the build cache: kept, so that the second run is quick. */
  readonly dataRoot: string;
  /** Socket and logs; short, since socket paths are. */
  readonly dir: string;
  /** Folder with cli-plugins/docker-compose. */
  readonly dockerConfig: string;
}

/**
 * A Docker engine of our own in namespaces of our own, so that neither an engine that runs here nor this machine's bridges and firewall notice.
 * It dies with this process. A user-mode network lets builds reach package registries.
 */
export class Engine {
  private constructor(readonly machine: Namespaces, private readonly daemon: Program, private readonly network: ChildProcess, private readonly options: EngineOptions, private readonly cgroup: string) {}

  static async start(options: EngineOptions): Promise<Engine> {
    mkdirSync(options.dataRoot, { recursive: true });
    const machine = await Namespaces.create('engine');
    const cgroup = `virtcft-compose-${process.pid}`;
    try {
      const network = spawn('setpriv', ['--pdeathsig', 'TERM', 'slirp4netns', '--configure', '--mtu=1400', '--disable-host-loopback', String(machine.initPid), 'tap0'], { stdio: 'ignore' });
      network.once('error', () => undefined);
      const daemon = Program.start(machine, {
        name: 'dockerd', log: join(options.dir, 'dockerd.log'),
        command: ['dockerd', '--data-root', options.dataRoot, '--exec-root', '/run/docker', '--pidfile', '/run/dockerd.pid', '--host', `unix://${join(options.dir, 'docker.sock')}`, '--dns', NAMES_AT, '--cgroup-parent', `/${cgroup}`],
      });
      const engine = new Engine(machine, daemon, network, options, cgroup);
      await engine.answers();
      return engine;
    } catch (error) {
      await machine.kill();
      throw error;
    }
  }

  private async answers(): Promise<void> {
    for (const end = performance.now() + limits.engine_start_ms; ;) {
      const failure = await this.docker(['version', '--format', '{{.Server.Version}}']).then(() => null, (error: unknown) => error);
      if (failure === null) return;
      if (!this.daemon.running || performance.now() > end) throw new LabUnavailable(`the Docker engine does not start:\n${this.daemon.tail()}`, { cause: failure });
      await sleep(500);
    }
  }

  /** Runs docker(1) against this engine; its standard output. `env` is added to ours. */
  docker(words: readonly string[], options: { readonly timeout_ms?: number; readonly env?: Readonly<Record<string, string>> } = {}): Promise<string> {
    const env = { ...process.env, DOCKER_CONFIG: this.options.dockerConfig, DOCKER_HOST: `unix://${join(this.options.dir, 'docker.sock')}`, ...options.env };
    return new Promise((resolve, reject) => {
      execFile('docker', words, { env, timeout: options.timeout_ms ?? limits.command_ms, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`\`docker ${words.slice(0, 6).join(' ')}\` ${error.killed ? 'took too long' : `ended with ${String(error.code)}`}:\n${`${stdout}\n${stderr}`.trim().split('\n').slice(-25).join('\n')}`, { cause: error }));
      }).stdin?.end();
    });
  }

  /** Ends it and everything in it, and removes its control groups. Names of what could not be removed. */
  async stop(): Promise<string[]> {
    await this.daemon.stop(limits.engine_stop_ms);
    this.network.kill('SIGTERM');
    await this.machine.kill();
    return removeGroups(this.cgroup);
  }
}

/** Every hierarchy has the engine's group, with one below it for each container. */
function removeGroups(name: string): string[] {
  const root = '/sys/fs/cgroup';
  const below = (folder: string): string[] => {
    try {
      return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  };
  const remove = (folder: string): string[] => {
    const left = below(folder).flatMap(remove);
    try {
      rmdirSync(folder);
      return left;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT' ? left : [...left, folder];
    }
  };
  return [root, ...below(root)].flatMap((hierarchy) => remove(join(hierarchy, name)));
}
