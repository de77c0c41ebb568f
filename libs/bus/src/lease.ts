import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { Kvm, type KV } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';
import { randomUUID } from 'node:crypto';
import { BusRefused } from './errors.js';
import { limits } from './limits.js';
import { forbidden, transient } from './retry.js';

const wrongRevision = (error: unknown): boolean =>
  error instanceof JetStreamApiError && (error.code === JetStreamApiCodes.StreamWrongLastSequence || error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown);

/**
 * Held by one at a time, until it is not renewed within its time. `revision` rises with every renewal and every holder: it is the fencing
 * token. A lease only saves work; safety rests on the log's expected sequence.
 */
export class Lease {
  #revision: number;

  constructor(private readonly bucket: KV, readonly key: string, readonly ttl_ms: number, private readonly holder: string, revision: number) {
    this.#revision = revision;
  }

  get revision(): number { return this.#revision; }

  /** Every ttl_ms / 3. False: another may hold it now, or the bus did not answer; stop what the lease allowed. */
  async renew(): Promise<boolean> {
    try {
      this.#revision = await this.bucket.update(this.key, this.holder, this.#revision);
      return true;
    } catch (error) {
      if (wrongRevision(error) || transient(error)) return false;
      throw error;
    }
  }

  /** Gives it back at once, unless another holds it already. */
  async release(): Promise<void> {
    await this.bucket.delete(this.key, { previousSeq: this.#revision }).catch((error: unknown) => { if (!wrongRevision(error)) throw error; });
  }
}

/** Null when another holds it. All keys of a bucket share its time to live, which the first user sets. */
export async function takeLease(connection: NatsConnection, bucket: string, key: string, ttl_ms: number): Promise<Lease | null> {
  const kv = await new Kvm(connection).create(bucket, { ttl: ttl_ms, history: 1, timeout: limits.api_ms }).catch((error: unknown) => {
    if (!forbidden(error)) throw error;
    throw new BusRefused(`this user may not take leases of ${bucket}`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error });
  });
  const holder = randomUUID();
  try {
    return new Lease(kv, key, ttl_ms, holder, await kv.create(key, holder));
  } catch (error) {
    if (wrongRevision(error)) return null;
    throw error;
  }
}
