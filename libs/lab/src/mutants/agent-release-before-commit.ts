// Lab only: an agent that breaks R8. Output of an epoch leaves when the epoch ends, not when a cut that covers it is committed.
import { hostAgent, runAgent } from '@virtcft/host-agent';
import { openFabric } from '@virtcft/fabric';
import { main } from '@virtcft/service';

await main(hostAgent, (configuration) => runAgent(configuration, {
  openFabric: (...given) => {
    const fabric = openFabric(...given);
    const flip = fabric.flip.bind(fabric);
    fabric.flip = async (epoch: number): Promise<void> => {
      await flip(epoch);
      await fabric.releaseOutput(epoch);
    };
    return fabric;
  },
}));
