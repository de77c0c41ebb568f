// Lab only: an agent that breaks R17. In a recovery a VM that survived goes on from where it is, while the others go back to the cut.
import { hostAgent, runAgent } from '@virtcft/host-agent';
import type { HypervisorDriver, Vm } from '@virtcft/hypervisor';
import { main } from '@virtcft/service';

function forward(vm: Vm): Vm {
  return new Proxy(vm, {
    get(target, name) {
      if (name === 'rollback') return () => Promise.resolve();
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

await main(hostAgent, (configuration) => runAgent(configuration, {
  driver: (driver: HypervisorDriver) => new Proxy(driver, {
    get(target, name) {
      if (name === 'start') return async (...given: Parameters<HypervisorDriver['start']>) => forward(await target.start(...given));
      if (name === 'load') return async (...given: Parameters<HypervisorDriver['load']>) => forward(await target.load(...given));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  }),
}));
