import { main } from '@virtcft/service';
import { hostAgent, runAgent } from './run.js';

await main(hostAgent, (configuration) => runAgent(configuration));
