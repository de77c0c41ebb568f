import type { Heartbeat, HostRegistered } from '@virtcft/events';
import { limits } from '@virtcft/protocol';
import { HostOffers } from '../src/hosts.js';

const from = { host: 'h1', agent: '00000000-0000-4000-8000-000000000001' };

describe('what hosts say of their VMs', () => {
  it('names those whose time falls behind while their host is heard (R25)', () => {
    let now_ms = 0;
    const offers = new HostOffers(() => now_ms);
    offers.registered({ ...from } as HostRegistered);
    const vms: Heartbeat['vms'] = [{ vm: 'a', runState: 'running' }, { vm: 'b', runState: 'paused', drifting: true }];
    offers.heard({ ...from, vms } as Heartbeat);
    const placement = { a: 'h1', b: 'h1', c: 'h2' };
    expect(offers.drifting(placement)).toEqual(['b']);
    expect(offers.runStates(placement)).toEqual({ a: 'running', b: 'paused' });
    now_ms += limits.alive_ms + 1;
    expect(offers.drifting(placement)).toEqual([]);
  });

  it('tells why the store takes no packs, in its words, until it does (R24)', () => {
    let now_ms = 0;
    const offers = new HostOffers(() => now_ms);
    offers.registered({ ...from } as HostRegistered);
    const told = (store_failure?: string): string | null => {
      offers.heard({ ...from, vms: [], ...(store_failure === undefined ? {} : { store_failure }) } as unknown as Heartbeat);
      return offers.storeFailure({ a: 'h1', b: 'h2' });
    };
    expect(told()).toBeNull();
    expect(told('AccessDenied')).toBe('AccessDenied');
    expect(offers.storeFailure({ b: 'h2' })).toBeNull();
    expect(told()).toBeNull();
    expect(told('AccessDenied')).toBe('AccessDenied');
    now_ms += limits.alive_ms + 1;
    expect(offers.storeFailure({ a: 'h1' })).toBeNull();
  });
});
