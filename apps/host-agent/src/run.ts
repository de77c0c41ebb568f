import 'reflect-metadata';
import { join } from 'node:path';
import { Controller, Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { JetStreamStrategy, LogMismatch, OnDecision, type StoredDecision } from '@virtcft/bus';
import { openFabric, readSecret, SecretUnusable } from '@virtcft/fabric';
import type { OpenDisk } from '@virtcft/disk';
import { createQemuDriver, makePrivate, swapDangerHere, type HypervisorDriver } from '@virtcft/hypervisor';
import { busEnvironment, connectBus, Health, untilTerminated, WrongConfiguration } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { environment } from './configuration.js';
import { AgentLife } from './life.js';
import { limits } from './limits.js';

export const hostAgent = {
  name: 'host-agent', summary: 'owns the VMs of one host: captures, restores, and its part of the fabric',
  environment: z.object({ ...busEnvironment, ...environment.shape }),
};
export type HostAgentConfiguration = z.infer<typeof hostAgent.environment>;

/** What a laboratory may put in the place of the real thing; and where the agent tells whether it is ready. */
export interface AgentSeams {
  readonly openFabric?: typeof openFabric;
  readonly driver?: (driver: HypervisorDriver) => HypervisorDriver;
  readonly openDisk?: OpenDisk;
  readonly health?: Health;
}

const log = logger('host-agent');

@Controller()
class Decisions {
  constructor(private readonly life: AgentLife) {}

  @OnDecision()
  onDecision(decision: StoredDecision): void { this.life.onDecision(decision); }
}

@Module({})
class AgentModule {
  static of(life: AgentLife): DynamicModule {
    return { module: AgentModule, controllers: [Decisions], providers: [{ provide: AgentLife, useValue: life }] };
  }
}

/** Lives one life after the other until the process is told to stop: a life ends when the cluster goes on without it (R20). */
export async function runAgent(configuration: HostAgentConfiguration, seams: AgentSeams = {}): Promise<void> {
  const secret = tunnelSecret(configuration.VIRTCFT_TUNNEL_SECRET_FILE);
  const terminated = untilTerminated();
  const runDir = join(configuration.VIRTCFT_RUN_DIR, 'vms');
  const danger = configuration.VIRTCFT_SWAP === 'allow' ? null : await swapDangerHere();
  if (danger !== null) throw new WrongConfiguration(`VIRTCFT_SWAP: ${danger}`);
  await makePrivate(runDir);
  const real = await createQemuDriver({ runDir, qemu: configuration.VIRTCFT_QEMU, log: (message, fields) => log.info({ ...fields }, message) });
  const driver = seams.driver?.(real) ?? real;
  try {
    for (let stopped = false; !stopped;) {
      for (const found of await driver.sweep()) log.warn({ found }, 'an earlier life left this behind; it was ended');
      stopped = await live(configuration, secret, driver, seams, terminated);
    }
  } finally {
    await driver.sweep();
    await driver.close();
  }
}

function tunnelSecret(path: string): Buffer {
  try {
    return readSecret(path);
  } catch (error) {
    throw error instanceof SecretUnusable ? new WrongConfiguration(`VIRTCFT_TUNNEL_SECRET_FILE: ${error.message}`, { cause: error }) : error;
  }
}

/** True when the process was told to stop. */
async function live(configuration: HostAgentConfiguration, secret: Buffer, driver: HypervisorDriver, seams: AgentSeams, terminated: Promise<NodeJS.Signals>): Promise<boolean> {
  const bus = await connectBus(configuration, `host-agent:${configuration.VIRTCFT_HOST}`);
  const life = new AgentLife(configuration, secret, bus, driver, seams.openFabric ?? openFabric, seams.openDisk);
  let deafen: (error: unknown) => void = () => undefined;
  // Another log than the one that was read: what runs here belongs to no generation that anybody goes on with. It ends; the host comes back empty (R13, R3).
  const deaf = new Promise<string>((resolve, reject) => { deafen = (error) => { if (error instanceof LogMismatch) resolve(error.message); else reject(error as Error); }; });
  try {
    await bus.awaitStreams(limits.streams_wait_ms);
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(AgentModule.of(life), { strategy: new JetStreamStrategy({ bus, onFailure: (error) => deafen(error) }), logger: ['error', 'warn'] });
    await app.listen();
    await life.begin();
    seams.health?.need('bus', () => bus.connected);
    seams.health?.started();
    const end = await Promise.race([life.over, deaf, terminated.then((signal) => ({ signal }))]);
    log.info(typeof end === 'string' ? { reason: end } : end, typeof end === 'string' ? 'this life of the host is over; it comes back empty' : 'stopping');
    seams.health?.startsAgain();
    await app.close();
    return typeof end !== 'string';
  } finally {
    await life.close();
    await bus.close();
  }
}
