import { main } from '@virtcft/service';
import { hostAgent, runAgent } from './run.js';

await main(hostAgent, (configuration, health) => runAgent(configuration, { health }));
