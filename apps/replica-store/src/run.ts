import 'reflect-metadata';
import { join } from 'node:path';
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { JetStreamStrategy } from '@virtcft/bus';
import { ContentUses } from '@virtcft/checkpoint';
import type { Report } from '@virtcft/events';
import { openStore } from '@virtcft/object-store';
import { busEnvironment, connectBus, Health, storeEnvironment, untilTerminated } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { BaseWriter } from './base-writer.js';
import { Collector, type Told } from './collector.js';
import { CutsController } from './cuts.controller.js';
import { imageRoutes } from './http/images.js';
import { packRoutes } from './http/packs.js';
import { restoreRoutes } from './http/restores.js';
import { DataServer } from './http/server.js';
import { KeyUses } from './key-uses.js';
import { limits } from './limits.js';
import { RecentPacks } from './recent-packs.js';
import { Replicas } from './replicas.js';
import { Scrubber } from './scrubber.js';
import { Verifications } from './verification.js';

export const replicaStore = {
  name: 'replica-store', summary: 'takes packs, makes them durable, folds committed cuts and serves restores',
  environment: z.object({
    ...busEnvironment,
    ...storeEnvironment,
    VIRTCFT_DATA_DIR: z.string().regex(/^\//).describe('a folder for the images that restores read; rebuilt when lost'),
    VIRTCFT_HTTP_ADDRESS: z.ipv4().default('127.0.0.1').describe('where packs are taken and pages are given'),
    VIRTCFT_HTTP_PORT: z.coerce.number().int().min(1).max(65_535).default(7780).describe('its port'),
  }),
};
export type ReplicaStoreConfiguration = z.infer<typeof replicaStore.environment>;

const log = logger('replica-store');

@Module({})
class ReplicaStoreModule {
  static of(replicas: Replicas, verifications: Verifications, collector: Collector, scrubber: Scrubber, keyUses: KeyUses): DynamicModule {
    const providers = [
      { provide: Replicas, useValue: replicas }, { provide: Verifications, useValue: verifications }, { provide: Collector, useValue: collector }, { provide: Scrubber, useValue: scrubber }, { provide: KeyUses, useValue: keyUses },
    ];
    return { module: ReplicaStoreModule, controllers: [CutsController], providers };
  }
}

export async function runReplicaStore(configuration: ReplicaStoreConfiguration, health = new Health()): Promise<void> {
  const terminated = untilTerminated();
  void terminated.then(() => health.stops());
  const store = await openStore(configuration.VIRTCFT_STORE, { ...process.env, VIRTCFT_STORE_KEYS_FILE: configuration.VIRTCFT_STORE_KEYS_FILE, VIRTCFT_STORE_PLAIN: configuration.VIRTCFT_STORE_PLAIN });
  const recent = new RecentPacks();
  const replicas = await Replicas.open(configuration.VIRTCFT_DATA_DIR, store, recent);
  let mended = (_: string): Promise<void> => Promise.resolve();
  let removed = (_: string): boolean => false;
  const verifications = new Verifications(store, join(configuration.VIRTCFT_DATA_DIR, 'scratch'), (key) => removed(key), (cluster) => mended(cluster));
  const uses = new ContentUses(limits.garbage_grace_ms);
  const report = (cluster: string, event: Report): Promise<void> => bus.report(cluster, 'replica-store', event);
  const bases = new BaseWriter(store, join(configuration.VIRTCFT_DATA_DIR, 'bases'), uses, report);
  const server = new DataServer([...packRoutes(store, recent, uses, (cluster, bytes) => bases.stored(cluster, bytes)), ...imageRoutes(store, uses), ...restoreRoutes(store, replicas)]);
  await server.listen(configuration.VIRTCFT_HTTP_ADDRESS, configuration.VIRTCFT_HTTP_PORT);
  const bus = await connectBus(configuration, 'replica-store');
  await bus.awaitStreams(limits.streams_wait_ms);
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => { fail = reject; });
  const collector = new Collector(store, join(configuration.VIRTCFT_DATA_DIR, 'garbage'), report, limits.garbage_grace_ms, uses);
  removed = (key) => collector.removed(key);
  const scrubber = new Scrubber(store, join(configuration.VIRTCFT_DATA_DIR, 'scrub'), report, { removed, expected: (cluster, cuts) => collector.expected(cluster, cuts) });
  mended = (cluster) => scrubber.mended(cluster);
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(ReplicaStoreModule.of(replicas, verifications, collector, scrubber, new KeyUses(store)), {
    strategy: new JetStreamStrategy({ bus, caughtUp: () => replicas.caughtUp(), onFailure: (error) => fail(error) }), logger: ['error', 'warn'],
  });
  await app.listen();
  const told = (): Told[] => replicas.clusters.flatMap((cluster) => replicas.told(cluster) ?? []);
  bases.run(told);
  collector.run(told);
  scrubber.run(() => replicas.clusters.map((cluster) => ({ cluster, cuts: replicas.cuts(cluster, limits.remembered_cuts) ?? [] })));
  if (store.sealing === undefined) log.warn('objects are stored as they are: give keys in VIRTCFT_STORE_KEYS_FILE to have them sealed');
  else if (store.sealing.plain_accepted) log.warn('objects that are not sealed are read, too: unset VIRTCFT_STORE_PLAIN when "virtcft keys" shows none');
  log.info({ store: configuration.VIRTCFT_STORE.replace(/\/\/[^@/]*@/, '//'), create_only: store.capability.create_only, sealed_with: store.sealing?.current ?? null, port: configuration.VIRTCFT_HTTP_PORT }, 'ready');
  health.need('bus', () => bus.connected);
  health.started();
  try {
    log.info({ signal: await Promise.race([terminated, failed]) }, 'stopping');
  } finally {
    await app.close();
    await server.close();
    await bases.close();
    await collector.close();
    await scrubber.close();
    await verifications.close();
    await replicas.close();
    await bus.close();
    await store.close();
  }
}
