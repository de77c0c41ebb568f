import 'reflect-metadata';
import { Controller, Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { JetStreamStrategy, OnDecision, OnHeartbeat, OnReport, type Bus, type StoredDecision, type StoredReport } from '@virtcft/bus';
import type { Heartbeat } from '@virtcft/events';
import { busEnvironment, connectBus, Health, untilTerminated } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { Failover } from './failover.js';
import { limits } from './limits.js';

export const failoverService = {
  name: 'failover', summary: 'watches hosts and drives recoveries',
  environment: z.object({
    ...busEnvironment,
    VIRTCFT_NAME: z.string().min(1).max(60).default('failover').describe('name of this instance on the bus; any number may run'),
  }),
};
export type FailoverConfiguration = z.infer<typeof failoverService.environment>;

const log = logger('failover');

@Controller()
class FailoverController {
  constructor(private readonly failover: Failover) {}

  @OnDecision()
  onDecision(decision: StoredDecision): void { this.failover.onDecision(decision); }

  @OnReport('recovery.loaded', 'recovery.running')
  onReport(report: StoredReport): void { this.failover.onReport(report); }

  @OnHeartbeat()
  onHeartbeat(heartbeat: Heartbeat): void { this.failover.onHeartbeat(heartbeat); }
}

@Module({})
class FailoverModule {
  static of(failover: Failover): DynamicModule {
    return { module: FailoverModule, controllers: [FailoverController], providers: [{ provide: Failover, useValue: failover }] };
  }
}

export interface RunningFailover {
  stop(): Promise<void>;
}

/** Reads the log, then watches and drives. `onFailure`: it is deaf from then on. */
export async function startFailover(bus: Bus, onFailure: (error: unknown) => void): Promise<RunningFailover> {
  const failover = new Failover(bus, () => performance.now());
  let from = 1;
  const replayed = new AbortController();
  await bus.followDecisions({ signal: replayed.signal, caughtUp: () => replayed.abort() }, (stored) => {
    failover.onDecision(stored);
    from = stored.sequence + 1;
  });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(FailoverModule.of(failover), {
    strategy: new JetStreamStrategy({ bus, decisionsFrom: from, reportsFrom: failover.reportsSince, onFailure }), logger: ['error', 'warn'],
  });
  await app.listen();
  failover.activate();
  return {
    stop: async () => {
      failover.close();
      await app.close();
    },
  };
}

export async function runFailover(configuration: FailoverConfiguration, health = new Health()): Promise<void> {
  const terminated = untilTerminated();
  void terminated.then(() => health.stops());
  const bus = await connectBus(configuration, configuration.VIRTCFT_NAME);
  await bus.awaitStreams(limits.streams_wait_ms);
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => { fail = reject; });
  const running = await startFailover(bus, (error) => fail(error));
  log.info({}, 'ready');
  health.need('bus', () => bus.connected);
  health.started();
  try {
    log.info({ signal: await Promise.race([terminated, failed]) }, 'stopping');
  } finally {
    await running.stop();
    await bus.close();
  }
}
