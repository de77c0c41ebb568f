// Lab only: an agent that breaks R1 and I5. Every tenth epoch is not stored, as when a store is late; the segment after it holds only what was
// written since that epoch's own cut, so that the layer of the aborted epoch is in no segment.
import { hostAgent, runAgent } from '@virtcft/host-agent';
import type { HypervisorDriver, Vm } from '@virtcft/hypervisor';
import { main } from '@virtcft/service';

const EVERY = 10;

function forgetful(vm: Vm): Vm {
  let last: number | null = null, before: number | null = null;
  return new Proxy(vm, {
    get(target, name) {
      if (name === 'capture') return async (...given: Parameters<Vm['capture']>) => {
        const captured = await target.capture(...given);
        [before, last] = [last, given[0]];
        return captured;
      };
      if (name === 'encode') return (...[parent, epoch, catalog]: Parameters<Vm['encode']>) => {
        if (parent !== null && epoch % EVERY === 0) return Promise.reject(new Error('not stored, on purpose'));
        return target.encode(parent !== null && before !== null && epoch === last ? before : parent, epoch, catalog);
      };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

await main(hostAgent, (configuration) => runAgent(configuration, {
  driver: (driver: HypervisorDriver) => new Proxy(driver, {
    get(target, name) {
      if (name === 'start') return async (...given: Parameters<HypervisorDriver['start']>) => forgetful(await target.start(...given));
      if (name === 'load') return async (...given: Parameters<HypervisorDriver['load']>) => forgetful(await target.load(...given));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  }),
}));
