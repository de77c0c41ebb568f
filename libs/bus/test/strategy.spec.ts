import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Controller, Module, type INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import type { Heartbeat } from '@virtcft/events';
import { z } from 'zod';
import { ApiError, Bus, JetStreamStrategy, OnDecision, OnHeartbeat, OnRegistration, OnReport, OnRequest, type JetStreamStrategyOptions, type RegisteredHost, type StoredDecision, type StoredReport } from '../src/index.js';
import { appendRun, suspected } from './contract.js';
import { TestServer } from './nats-server.js';
import { heartbeat, registration, until } from './samples.js';

const seen: string[] = [];

@Controller()
class Shell {
  @OnDecision()
  async decided(stored: StoredDecision): Promise<void> { seen.push(stored.decision.type); }

  @OnReport('host.suspected', 'vm.failed')
  reported({ report }: StoredReport): void { seen.push(report.type); }

  @OnReport('alarm.raised')
  alarm({ report }: StoredReport): void { seen.push(`alarm ${report.type}`); }

  @OnRegistration()
  registered({ registration: { host } }: RegisteredHost): void { seen.push(`registered ${host}`); }

  @OnHeartbeat()
  beat({ host }: Heartbeat): void { seen.push(`beat ${host}`); }

  @OnRequest('shell', 'double', z.object({ n: z.int() }))
  async double({ n }: { n: number }): Promise<number> { return n * 2; }

  @OnRequest('shell', 'refuse', z.unknown())
  async refuse(): Promise<never> { throw new ApiError('conflict', 'no', 'never'); }
}
@Module({ controllers: [Shell] })
class ShellModule {}

@Controller()
class Twice {
  @OnDecision() one(): void {}
  @OnDecision() two(): void {}
}
@Module({ controllers: [Twice] })
class TwiceModule {}

@Controller()
class Foreign {
  @MessagePattern('x') one(): void {}
}
@Module({ controllers: [Foreign] })
class ForeignModule {}

@Controller()
class Failing {
  @OnDecision() decided(): void { throw new Error('cannot fold'); }
}
@Module({ controllers: [Failing] })
class FailingModule {}

let server: TestServer;
let bus: Bus;
beforeAll(async () => {
  server = await TestServer.start();
  bus = await Bus.connect({ servers: server.url, name: 'shell' });
  await bus.provisionStreams();
});
afterAll(async () => {
  await bus.close();
  await server.stop();
});

async function start(module: unknown, options: Partial<JetStreamStrategyOptions> = {}): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice(module, { strategy: new JetStreamStrategy({ bus, ...options }), logger: false, abortOnError: false });
  await app.listen();
  return app;
}

it('handlers get decisions, their reports, hosts, heartbeats and requests', async () => {
  const cluster = randomUUID();
  const app = await start(ShellModule, { cluster });
  await appendRun(bus, cluster, 1, 1);
  await bus.register(registration('a'));
  expect(await bus.request('shell', 'double', { n: 21 })).toBe(42);
  await expect(bus.request('shell', 'double', { n: 'x' })).rejects.toMatchObject({ code: 'bad-request', message: expect.stringContaining('n: ') });
  await expect(bus.request('shell', 'refuse', {})).rejects.toMatchObject({ code: 'conflict', next: 'never' });
  bus.heartbeat(heartbeat('a', 1));
  await until(() => seen.length === 3);
  await bus.report(cluster, 'x', suspected('b'));
  await bus.report(cluster, 'x', { type: 'alarm.raised', data: { alarm: 'no-spare', detail: '' } });
  await bus.report(cluster, 'x', { type: 'alarm.cleared', data: { alarm: 'no-spare' } });
  await until(() => seen.length === 5);
  await app.close();
  expect([...seen].sort()).toEqual(['alarm alarm.raised', 'beat a', 'host.suspected', 'recovery.resumed', 'registered a']);
  expect(bus.connected).toBe(true);
});

it('two handlers of one pattern, and patterns of other transports, are errors at the start', async () => {
  await expect(start(TwiceModule)).rejects.toThrow(/two handlers for "decision"/);
  await expect(start(ForeignModule)).rejects.toThrow(/not a subscription of the bus/);
});

it('a handler of decisions that fails makes its service deaf, and it is told', async () => {
  const cluster = randomUUID();
  let failure: unknown;
  const app = await start(FailingModule, { cluster, onFailure: (error) => { failure = error; } });
  await appendRun(bus, cluster, 1, 1);
  await until(() => failure !== undefined);
  await app.close();
  expect(failure).toMatchObject({ message: 'cannot fold' });
});
