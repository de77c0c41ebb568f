import { Agent, request, type IncomingMessage } from 'node:http';
import type { CutRef } from '@virtcft/events';
import type { PageSource } from '@virtcft/hypervisor';
import type { TraceContext } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import { uploadImage, type UploadOptions } from './image-upload.js';
import { ReplicaStoreRefused, ReplicaStoreUnavailable } from './replica-store-errors.js';
import { sectionsOf } from './section-stream.js';

export { ReplicaStoreRefused, ReplicaStoreUnavailable };

export interface DeviceImage {
  readonly runState: 'running' | 'paused' | 'off' | 'panicked';
  readonly state: Buffer;
}
export interface ChannelFrame { readonly nic: string; readonly frame: Buffer }

const MAX_SECTION_BYTES = 64 * 1024 * 1024;

/** The HTTP side of a replica store: page data goes here directly, never over the bus. */
export class ReplicaClient {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(private readonly base: string) {}

  /** Resolves when the pack is durable (R14). */
  async putPack(key: string, parts: readonly Buffer[], trace: TraceContext, signal: AbortSignal): Promise<void> {
    await this.whole('PUT', `/v1/packs/${key}`, parts, trace, signal);
  }

  /** Its hash is the caller's to check. */
  manifest(cluster: string, cut: CutRef, signal: AbortSignal): Promise<Buffer> {
    return this.whole('GET', `/v1/clusters/${cluster}/cuts/${cut.hash}/manifest?generation=${cut.generation}&epoch=${cut.epoch}`, [], {}, signal);
  }

  async device(cluster: string, cut: CutRef, vm: string, signal: AbortSignal): Promise<DeviceImage> {
    const response = await this.send('GET', `/v1/clusters/${cluster}/cuts/${cut.hash}/vms/${vm}/device`, [], {}, signal);
    const runState = String(response.headers['x-virtcft-run-state']);
    const state = await collect(response);
    if (runState !== 'running' && runState !== 'paused' && runState !== 'off' && runState !== 'panicked') throw new ReplicaStoreRefused(`run state "${runState}" is not known`, 200);
    return { runState, state };
  }

  /** The frames in flight towards these NICs at the cut. */
  async channel(cluster: string, cut: CutRef, signal: AbortSignal): Promise<ChannelFrame[]> {
    const body = await this.whole('GET', `/v1/clusters/${cluster}/cuts/${cut.hash}/channel`, [], {}, signal);
    const frames = JSON.parse(body.toString()) as { nic: string; frame: string }[];
    return frames.map(({ nic, frame }) => ({ nic, frame: Buffer.from(frame, 'base64') }));
  }

  pages(cluster: string, cut: CutRef, vm: string): PageSource {
    return this.source(`/v1/clusters/${cluster}/cuts/${cut.hash}/vms/${vm}/pages`);
  }

  /** The 4096-byte blocks of one of its disks. */
  blocks(cluster: string, cut: CutRef, vm: string, disk: string): PageSource {
    return this.source(`/v1/clusters/${cluster}/cuts/${cut.hash}/vms/${vm}/disks/${disk}/blocks`);
  }

  hasChunk(cluster: string, hash: string, signal: AbortSignal): Promise<boolean> { return this.exists(`/v1/clusters/${cluster}/chunks/${hash}`, signal); }
  hasImage(cluster: string, hash: string, signal: AbortSignal): Promise<boolean> { return this.exists(`/v1/clusters/${cluster}/images/${hash}`, signal); }

  /** `stored`: the chunk object (docs/formats/image.md). Resolves when it is durable. */
  async putChunk(cluster: string, hash: string, stored: Buffer, signal: AbortSignal): Promise<void> {
    await this.whole('PUT', `/v1/clusters/${cluster}/chunks/${hash}`, [stored], {}, signal);
  }

  /** Refused while one of its chunks is missing. */
  async putImage(cluster: string, hash: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
    await this.whole('PUT', `/v1/clusters/${cluster}/images/${hash}`, [bytes], {}, signal);
  }

  /** Has the store fetch a stored image for the restores of a VM that will begin with it; true when that is done. */
  async prepareImage(cluster: string, hash: string, signal: AbortSignal): Promise<boolean> {
    return (await this.whole('PUT', `/v1/clusters/${cluster}/images/${hash}/ready`, [], {}, signal)).toString() === 'ready';
  }

  /**
   * Makes the content of a private raw file of exactly `bytes` (a multiple of 4096) a base image of the cluster and resolves with its hash, when all of it
   * is durable; what is there already is not sent again. A store that is away is waited for until `signal` is aborted, which rejects with its reason.
   */
  uploadImage(cluster: string, path: string, bytes: number, options: UploadOptions): Promise<string> {
    return uploadImage(this, cluster, path, bytes, options);
  }

  close(): void { this.agent.destroy(); }

  private source(path: string): PageSource {
    return {
      all: (signal) => this.sections(path, signal),
      pages: (first, count) => this.whole('GET', `${path}/${first}/${count}`, [], {}, AbortSignal.timeout(limits.wanted_pages_ms)),
    };
  }

  private async exists(path: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.whole('HEAD', path, [], {}, signal);
      return true;
    } catch (error) {
      if (error instanceof ReplicaStoreRefused && error.status === 404) return false;
      throw error;
    }
  }

  private async *sections(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
    const response = await this.send('GET', path, [], {}, signal);
    yield* sectionsOf(response as AsyncIterable<Buffer>, MAX_SECTION_BYTES);
  }

  private async whole(method: string, path: string, body: readonly Buffer[] = [], trace: TraceContext = {}, signal?: AbortSignal): Promise<Buffer> {
    return collect(await this.send(method, path, body, trace, signal));
  }

  /** A store that neither takes nor sends a byte for a while is unavailable: nothing waits for it without end. */
  private async send(method: string, path: string, body: readonly Buffer[], trace: TraceContext = {}, signal?: AbortSignal): Promise<IncomingMessage> {
    const headers = { 'content-length': String(body.reduce((sum, part) => sum + part.length, 0)), ...trace };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(`${this.base}${path}`, { method, agent: this.agent, headers, ...(signal ? { signal } : {}) }, resolve);
      sent.on('error', (error) => reject(new ReplicaStoreUnavailable(`${method} ${path}: ${error.message}`, null, `the replica store cannot be reached: ${error.message}`)));
      sent.setNoDelay(true);
      sent.setTimeout(limits.silent_store_ms, () => sent.destroy(new Error(`silent for ${limits.silent_store_ms} ms`)));
      for (const part of body) sent.write(part);
      sent.end();
    });
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    const said = (await collect(response)).toString().slice(0, 300);
    const text = `${method} ${path}: ${status} ${said}`;
    throw status >= 500 || status === 429 ? new ReplicaStoreUnavailable(text, status, said) : new ReplicaStoreRefused(text, status);
  }
}

async function collect(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (error) {
    throw new ReplicaStoreUnavailable(`the answer broke off: ${error instanceof Error ? error.message : String(error)}`, null);
  }
  return chunks.length === 1 ? chunks[0] as Buffer : Buffer.concat(chunks);
}
