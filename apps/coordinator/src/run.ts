import 'reflect-metadata';
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { JetStreamStrategy, type Bus } from '@virtcft/bus';
import { openStore, type ObjectStore } from '@virtcft/object-store';
import { busEnvironment, connectBus, Health, storeEnvironment, untilTerminated } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { CoordinatorController } from './api/controller.js';
import { Operations } from './api/operations.js';
import { Coordinator } from './coordinator.js';
import { HostOffers } from './hosts.js';
import { limits } from './limits.js';

export const coordinatorService = {
  name: 'coordinator', summary: 'decides epochs, commits cuts and raises generations',
  environment: z.object({
    ...busEnvironment,
    VIRTCFT_NAME: z.string().min(1).max(60).default('coordinator').describe('name of this instance on the bus; any number may run'),
    ...storeEnvironment,
    VIRTCFT_STREAM_REPLICAS: z.coerce.number().int().min(1).max(5).default(1).describe('copies of each stream; 3 in production'),
  }),
};
export type CoordinatorConfiguration = z.infer<typeof coordinatorService.environment>;

const log = logger('coordinator');

@Module({})
class CoordinatorModule {
  static of(coordinator: Coordinator): DynamicModule {
    return {
      module: CoordinatorModule, controllers: [CoordinatorController],
      providers: [{ provide: Coordinator, useValue: coordinator }, { provide: Operations, useValue: new Operations(coordinator) }],
    };
  }
}

export interface RunningCoordinator {
  readonly coordinator: Coordinator;
  stop(): Promise<void>;
}

/** Reads the log, then what was reported since its last commits, then decides. `onFailure`: it is deaf from then on. */
export async function startCoordinator(bus: Bus, store: ObjectStore, onFailure: (error: unknown) => void): Promise<RunningCoordinator> {
  const now = (): number => performance.now();
  const coordinator = new Coordinator({ bus, store, offers: new HostOffers(now), now });
  let from = 1;
  const replayed = new AbortController();
  await bus.followDecisions({ signal: replayed.signal, caughtUp: () => replayed.abort() }, (stored) => {
    coordinator.onDecision(stored);
    from = stored.sequence + 1;
  });
  const since = coordinator.reportsSince ?? new Date();
  const reported = new AbortController();
  // Another machine's clock may run a little behind this one.
  const before = new Date(Date.now() - limits.clock_skew_ms);
  await bus.followReports({ from: since, signal: reported.signal, caughtUp: () => reported.abort() }, (stored) => coordinator.onReport(stored));
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(CoordinatorModule.of(coordinator), {
    // Reports of the moment between the two follows come twice; the ledger takes each once.
    strategy: new JetStreamStrategy({ bus, decisionsFrom: from, reportsFrom: before, onFailure }), logger: ['error', 'warn'],
  });
  await app.listen();
  coordinator.activate();
  // Sent behind the subscriptions on one connection: with its answer, requests of others find somebody too.
  await bus.request('coordinator', 'get', null);
  return {
    coordinator,
    stop: async () => {
      await app.close();
      coordinator.close();
    },
  };
}

export async function runCoordinator(configuration: CoordinatorConfiguration, health = new Health()): Promise<void> {
  const terminated = untilTerminated();
  void terminated.then(() => health.stops());
  const store = await openStore(configuration.VIRTCFT_STORE, { ...process.env, VIRTCFT_STORE_KEYS_FILE: configuration.VIRTCFT_STORE_KEYS_FILE, VIRTCFT_STORE_PLAIN: configuration.VIRTCFT_STORE_PLAIN });
  const bus = await connectBus(configuration, configuration.VIRTCFT_NAME);
  await bus.provisionStreams({ replicas: configuration.VIRTCFT_STREAM_REPLICAS });
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => { fail = reject; });
  const running = await startCoordinator(bus, store, (error) => fail(error));
  if (store.sealing === undefined) log.warn('objects are stored as they are: give keys in VIRTCFT_STORE_KEYS_FILE to have them sealed');
  else if (store.sealing.plain_accepted) log.warn('objects that are not sealed are read, too: unset VIRTCFT_STORE_PLAIN when "virtcft keys" shows none');
  log.info({ store: configuration.VIRTCFT_STORE.replace(/\/\/[^@/]*@/, '//'), create_only: store.capability.create_only, sealed_with: store.sealing?.current ?? null, clusters: running.coordinator.all().length }, 'ready');
  health.need('bus', () => bus.connected);
  health.started();
  try {
    log.info({ signal: await Promise.race([terminated, failed]) }, 'stopping');
  } finally {
    await running.stop();
    await bus.close();
    await store.close();
  }
}
