import { z } from 'zod';
import { busEnvironment, readConfiguration, WrongConfiguration } from '../src/index.js';

const service = {
  name: 'keeper', summary: 'keeps things',
  environment: z.object({ ...busEnvironment, VIRTCFT_HOST: z.string().regex(/^[a-z-]+$/, 'use a-z and -').describe('this host') }),
};
const never = (): void => { throw new Error('nothing is to be printed'); };

describe('the configuration of a service', () => {
  it('takes its variables and defaults, and nothing else', () => {
    expect(readConfiguration(service, { VIRTCFT_HOST: 'host-a', HOME: '/root', VIRTCFT_NATS_USER: '' }, [], never)).toEqual({ VIRTCFT_HOST: 'host-a', VIRTCFT_NATS_URL: 'nats://127.0.0.1:4222' });
  });

  it('names every variable that is missing or wrong', () => {
    expect(() => readConfiguration(service, {}, [], never)).toThrow(/VIRTCFT_HOST: is missing/);
    expect(() => readConfiguration(service, { VIRTCFT_HOST: 'A' }, [], never)).toThrow(/VIRTCFT_HOST: use a-z and -/);
    expect(() => readConfiguration(service, { VIRTCFT_HOST: 'a' }, ['--fast'], never)).toThrow(WrongConfiguration);
  });

  it('explains itself', () => {
    const printed: string[] = [];
    expect(readConfiguration(service, {}, ['--help'], (text) => printed.push(text))).toBeNull();
    expect(printed.join()).toMatch(/VIRTCFT_HOST\n +this host \(required\)/);
    expect(printed.join()).toMatch(/VIRTCFT_NATS_URL\n.*default nats:\/\/127\.0\.0\.1:4222/);
  });
});
