import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Engine } from './engine.js';
import { limits } from './limits.js';
import { OutsideClient } from './outside.js';
import type { TrialFacts } from './verdict.js';

const OUTSIDE_GATEWAY = '172.30.88.1';
/** The guest with Redis in docker/trial/cluster.yaml, and the host it begins on. */
const REDIS = '172.30.88.101';
const KILLED = 'host-a';
const GRACE_S = 30; // the longest stop_grace_period of docker-compose.yml

const Status = z.object({ clusters: z.array(z.object({ stage: z.string(), generation: z.number(), epochs: z.object({ committed: z.number() }), tip: z.object({ generation: z.number(), epoch: z.number() }).nullable() })).length(1) });
const KeyUses = z.object({ keys: z.array(z.object({ current: z.boolean(), objects: z.number() })) });
type ClusterStatus = z.infer<typeof Status>['clusters'][number];

export interface TrialOptions { readonly root: string; readonly secrets: string; readonly signal: AbortSignal; readonly say: (text: string) => void }

/** docker-compose.yml as a person runs it: built, started, a cluster applied, a host's container killed, everything stopped. */
export class Trial {
  private readonly environment: Record<string, string>;

  constructor(private readonly engine: Engine, private readonly options: TrialOptions) {
    this.environment = { VIRTCFT_SECRETS: options.secrets, VIRTCFT_GUESTS: join(options.root, '.cache', 'guests', 'current') };
  }

  private compose(words: readonly string[], timeout_ms: number = limits.command_ms, profile = '*'): Promise<string> {
    this.options.signal.throwIfAborted();
    return this.composeToTheEnd(words, timeout_ms, profile);
  }

  private composeToTheEnd(words: readonly string[], timeout_ms: number = limits.command_ms, profile = '*'): Promise<string> {
    return this.engine.docker(['compose', '--file', join(this.options.root, 'docker-compose.yml'), '--profile', profile, ...words], { timeout_ms, env: this.environment });
  }

  async run(): Promise<Omit<TrialFacts, 'left'>> {
    const { say } = this.options;
    // What a run that was cut off left.
    await this.takeDown();
    say('building the images of the services');
    await this.compose(['build', 'coordinator', 'failover', 'replica-store', KILLED, 'virtcft'], limits.build_ms);
    mkdirSync(this.options.secrets, { recursive: true });
    say((await this.compose(['run', '--rm', '-T', 'init'])).trim().split(';')[0] ?? '');
    const secretsShown = shown(this.options.secrets, await this.compose(['config']));
    const started = performance.now();
    await this.compose(['up', '--detach', '--wait', '--no-build'], limits.up_ms, 'trial');
    say(`every service is healthy after ${seconds(started).toFixed(1)} s`);

    say((await this.cli(['apply', '-f', '/clusters/cluster.yaml', '--wait', '--timeout', String(limits.apply_s)])).trim().split('\n').at(-1) ?? '');
    const outside = new OutsideClient(this.engine.machine, REDIS);
    await outside.prepare(OUTSIDE_GATEWAY);
    const acknowledged = `written-${Date.now()}`;
    await outside.askWhenUp(`SET trial ${acknowledged}`, 1);
    const before = await this.until('enough cuts are committed', limits.cuts_ms, ({ epochs }) => epochs.committed >= limits.cuts);
    say(`an outside client's write is acknowledged; ${before.epochs.committed} cuts are committed`);

    await this.compose(['kill', KILLED]);
    const killed = performance.now();
    const back = await this.until('the cluster runs again', limits.recovery_ms, ({ stage, generation, tip }) => stage === 'running' && generation > before.generation && tip?.generation === generation);
    say(`the container of ${KILLED} was killed; generation ${back.generation} runs and has committed, seen after ${seconds(killed).toFixed(1)} s`);
    const readBack = await outside.askWhenUp('GET trial', 2);
    const after = await this.until('it goes on committing', limits.cuts_ms, ({ epochs }) => epochs.committed >= before.epochs.committed + limits.cuts);

    const cutObjects = Number(await this.inMinio('ls /data/virtcft/*/cuts | wc -l'));
    const { keys } = KeyUses.parse(JSON.parse(await this.cli(['--output', 'json', 'keys'])));
    const deleteRefused = await this.deleteIsRefused();
    const stopping = performance.now();
    await this.compose(['stop']);
    const stop_s = seconds(stopping);
    return {
      services: await this.endings(), killed: KILLED, generationBefore: before.generation, generationAfter: after.generation, committedBefore: before.epochs.committed, committedAfter: after.epochs.committed,
      cutsWanted: limits.cuts, acknowledged, readBack, cutObjects, sealed: objectsOf(keys, true), unsealed: objectsOf(keys, false), deleteRefused, secretsShown, stop_s, grace_s: GRACE_S,
    };
  }

  /** Containers, networks and volumes; also after an interrupt. What is still there. */
  async takeDown(): Promise<string[]> {
    await this.composeToTheEnd(['down', '--volumes', '--remove-orphans', '--timeout', '10']);
    const names = await Promise.all([['ps', '--all', '--quiet'], ['volume', 'ls', '--quiet'], ['network', 'ls', '--quiet', '--filter', 'type=custom']].map((words) => this.engine.docker(words)));
    return names.flatMap((text) => text.split('\n').filter((line) => line !== ''));
  }

  /** The last lines of every service, for whoever looks why it failed. */
  logs(): Promise<string> { return this.composeToTheEnd(['logs', '--no-color', '--tail', '40']); }

  private cli(words: readonly string[]): Promise<string> {
    return this.compose(['run', '--rm', '-T', 'virtcft', ...words], limits.apply_s * 1_000 + limits.command_ms);
  }

  private async until(what: string, patience_ms: number, holds: (cluster: ClusterStatus) => boolean): Promise<ClusterStatus> {
    for (const end = performance.now() + patience_ms; ;) {
      const [cluster] = Status.parse(JSON.parse(await this.cli(['--output', 'json', 'status']))).clusters;
      if (cluster !== undefined && holds(cluster)) return cluster;
      if (performance.now() > end) throw new Error(`not within ${patience_ms / 1_000} s: ${what}; it is ${JSON.stringify(cluster)}`);
      await sleep(limits.poll_ms);
    }
  }

  private inMinio(script: string, env: readonly string[] = []): Promise<string> {
    return this.compose(['exec', '-T', ...env.flatMap((each) => ['--env', each]), 'minio', 'sh', '-c', script]);
  }

  private async deleteIsRefused(): Promise<boolean> {
    const count = 'ls /data/virtcft/*/packs | wc -l';
    const [user = '', key = ''] = (readFileSync(join(this.options.secrets, 'store', 'users'), 'utf8').split('\n').find((line) => line.startsWith('replica-store ')) ?? '').split(' ');
    const path = (await this.inMinio('cd /data && ls -d virtcft/*/packs/* | head -n 1')).trim();
    const said = await this.inMinio(`mc rm "own/${path}" 2>&1 || echo refused`, [`MC_HOST_own=https://${user}:${key}@localhost:9000`]);
    return said.includes('refused') && /access denied/i.test(said) && Number(await this.inMinio(count)) > 0;
  }

  private async endings(): Promise<{ name: string; exitCode: number }[]> {
    const ids = (await this.compose(['ps', '--all', '--quiet'])).split('\n').filter((id) => id !== '');
    const text = await this.engine.docker(['inspect', '--format', '{{index .Config.Labels "com.docker.compose.service"}} {{.State.ExitCode}}', ...ids]);
    return text.trim().split('\n').map((line) => { const [name = '', code] = line.split(' '); return { name, exitCode: Number(code) }; });
  }
}

const objectsOf = (keys: z.infer<typeof KeyUses>['keys'], current: boolean): number => keys.filter((key) => key.current === current).reduce((sum, { objects }) => sum + objects, 0);
const seconds = (since: number): number => (performance.now() - since) / 1_000;

/** How many of the secret values stand in a text. */
function shown(folder: string, text: string): number {
  const files = ['bus', 'store'].flatMap((part) => readdirSync(join(folder, part)).filter((name) => name.endsWith('.password')).map((name) => join(folder, part, name)));
  return files.filter((file) => text.includes(readFileSync(file, 'utf8').trim())).length;
}
