import { constants, setPriority } from 'node:os';
import { BusError } from '@virtcft/bus';
import { logger, startTelemetry } from '@virtcft/telemetry';
import type { z } from 'zod';
import { Health, serveHealth } from './health.js';
import { readConfiguration, WrongConfiguration, type ServiceDescription } from './configuration.js';

/** Resolves with the signal's name at the first SIGTERM or SIGINT. A second one ends the process at once. */
export function untilTerminated(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(128 + constants.signals[signal]));
        resolve(signal);
      });
    }
  });
}

/** Detection and cuts must not wait behind guests. Without the right to it the service runs as it is. */
export function raisePriority(): boolean {
  try {
    setPriority(-10);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error;
    return false;
  }
}

/**
 * A service's whole life: configuration, telemetry, health, `run` until it returns, exit code. 2: wrong configuration; 1: anything else, with the
 * reason in one line and what to do next.
 */
export async function main<Shape extends z.ZodRawShape>(service: ServiceDescription<Shape>, run: (configuration: z.infer<z.ZodObject<Shape>>, health: Health) => Promise<void>): Promise<void> {
  const log = logger(service.name);
  try {
    const configuration = readConfiguration(service, process.env, process.argv.slice(2), (text) => process.stdout.write(text));
    if (configuration === null) return;
    const telemetry = await startTelemetry(service.name);
    if (!raisePriority()) log.info('runs at ordinary priority; under full load cuts and detection may be late');
    const health = new Health();
    const server = await serveHealth(health, process.env);
    try {
      await run(configuration, health);
    } finally {
      await server?.close();
      await telemetry.shutdown();
    }
    process.exit(0);
  } catch (error) {
    if (error instanceof WrongConfiguration) process.stderr.write(`${error.message}\n`);
    else log.fatal({ err: error, ...(error instanceof BusError ? { next: error.next } : {}) }, error instanceof Error ? error.message : String(error));
    process.exit(error instanceof WrongConfiguration ? 2 : 1);
  }
}
