import { readFileSync } from 'node:fs';
import { Bus } from '@virtcft/bus';
import { z } from 'zod';
import { WrongConfiguration } from './configuration.js';

/** What every service needs to reach the bus; spread it into the service's own environment. */
export const busEnvironment = {
  VIRTCFT_NATS_URL: z.string().min(1).default('nats://127.0.0.1:4222').describe('the bus: one or more URLs, separated by commas'),
  VIRTCFT_NATS_USER: z.string().min(1).optional().describe('user on the bus'),
  VIRTCFT_NATS_PASSWORD: z.string().min(1).optional().describe('its password; prefer the file'),
  VIRTCFT_NATS_PASSWORD_FILE: z.string().min(1).optional().describe('a file that holds the password'),
} as const;

export interface BusConfiguration {
  readonly VIRTCFT_NATS_URL: string;
  readonly VIRTCFT_NATS_USER?: string | undefined;
  readonly VIRTCFT_NATS_PASSWORD?: string | undefined;
  readonly VIRTCFT_NATS_PASSWORD_FILE?: string | undefined;
}

/** Throws BusUnavailable, BusRefused, ServerTooOld, or WrongConfiguration when the password file cannot be read. */
export async function connectBus(configuration: BusConfiguration, name: string): Promise<Bus> {
  const user = configuration.VIRTCFT_NATS_USER;
  const password = configuration.VIRTCFT_NATS_PASSWORD_FILE === undefined ? configuration.VIRTCFT_NATS_PASSWORD : passwordIn(configuration.VIRTCFT_NATS_PASSWORD_FILE);
  return Bus.connect({ servers: configuration.VIRTCFT_NATS_URL, name, ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) });
}

function passwordIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new WrongConfiguration(`VIRTCFT_NATS_PASSWORD_FILE: ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}); create it, readable by this service only`, { cause: error });
  }
}
