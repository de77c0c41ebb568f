import { chunkBytes } from '@virtcft/checkpoint';
import type { VmSeed } from '@virtcft/hypervisor';
import { limits } from '../limits.js';
import { pause } from '../pause.js';
import { ChunkUpload, type ImageStore } from '../recovery/image-upload.js';
import type { ReplicaClient } from '../recovery/replica-client.js';

const pageBytes = 4096;
const chunkPages = chunkBytes / pageBytes;

export interface SeedOptions {
  readonly cluster: string;
  readonly memory_bytes: number;
  readonly bytes_per_s: number;
  readonly signal: AbortSignal;
  /** Resolves when the store is free for a chunk: cuts come first. */
  readonly giveWay?: () => Promise<void>;
  /** Share of the memory that the first round has passed, from 0 to 1. */
  readonly onProgress: (share: number) => void;
}

/** A base of a memory that is stored as an image (docs/formats/image.md). */
export interface SeededMemory {
  readonly image: string;
  /** What was read of the memory, all rounds together; holes are not. */
  readonly seeded_bytes: number;
  /** What was sent of it. */
  readonly stored_bytes: number;
  readonly rounds: number;
}

/**
 * Makes a base of a running VM's memory and stores it (R20), chunk by chunk and at most at a rate: all that holds data, then, round by round, the chunks of which much was
 * written meanwhile. Holds some chunks at a time, whatever the memory's size. Throws the signal's reason, ReplicaStoreRefused, and what the VM throws.
 */
export async function seedMemory(seed: VmSeed, store: ImageStore & Pick<ReplicaClient, 'prepareImage'>, { cluster, memory_bytes, bytes_per_s, signal, giveWay, onProgress }: SeedOptions): Promise<SeededMemory> {
  const pages = memory_bytes / pageBytes;
  const chunks: (string | null)[] = Array.from({ length: Math.ceil(memory_bytes / chunkBytes) }, () => null);
  const upload = new ChunkUpload(store, cluster, signal);
  const pace = new Pace(bytes_per_s, signal);
  const underWay = new Sending();
  let seeded_bytes = 0;
  let before_pages = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round += 1) {
    const fewest = round === 0 ? 0 : limits.seed_dense_pages;
    let sent_pages = 0;
    for (let at = 0; at < chunks.length; at += 1) {
      signal.throwIfAborted();
      const first = at * chunkPages;
      const { pages: written, content } = await seed.copy(first, Math.min(chunkPages, pages - first), fewest);
      if (round === 0) onProgress(at / chunks.length);
      if (written < fewest) continue;
      sent_pages += written;
      if (content === null) {
        chunks[at] = null;
        continue;
      }
      seeded_bytes += content.length;
      await giveWay?.();
      await underWay.add(upload.put(content).then((hash) => { chunks[at] = hash; }));
      await pace.after(content.length);
    }
    await underWay.all();
    // A round that is not half of the one before is not being caught up with: what is left is for the first cut.
    const hopeless = round + 1 === limits.seed_rounds || (round > 1 && sent_pages > before_pages / 2);
    before_pages = sent_pages;
    if ((round > 0 && sent_pages <= limits.seed_rest_pages) || hopeless) {
      const image = await upload.image(memory_bytes, chunks);
      await upload.patiently(async () => {
        // A cut that names it would else be folded only when it was fetched, and a recovery wait for that.
        while (!await store.prepareImage(cluster, image, signal)) {
          await pause(limits.seed_prepare_poll_ms, signal);
          signal.throwIfAborted();
        }
      });
      return { image, seeded_bytes, stored_bytes: upload.sent_bytes, rounds: round + 1 };
    }
  }
}

/** Bytes per second at most, without making up for what was slower. */
class Pace {
  private due_ms = performance.now();
  constructor(private readonly bytes_per_s: number, private readonly signal: AbortSignal) {}

  async after(bytes: number): Promise<void> {
    const now_ms = performance.now();
    this.due_ms = Math.max(this.due_ms, now_ms - limits.seed_slack_ms) + bytes / this.bytes_per_s * 1000;
    if (this.due_ms > now_ms) await pause(this.due_ms - now_ms, this.signal);
  }
}

/** Chunks that are compressed and sent, a few at a time. */
class Sending {
  private readonly sending = new Set<Promise<void>>();
  private failure: { readonly error: unknown } | null = null;

  /** Resolves when there is room for another. Throws what one before failed with. */
  async add(work: Promise<void>): Promise<void> {
    const one = work.catch((error: unknown) => { this.failure ??= { error }; }).finally(() => this.sending.delete(one));
    this.sending.add(one);
    if (this.sending.size >= limits.upload_chunks) await Promise.race(this.sending);
    this.check();
  }

  async all(): Promise<void> {
    await Promise.all(this.sending);
    this.check();
  }

  private check(): void { if (this.failure !== null) throw this.failure.error; }
}
