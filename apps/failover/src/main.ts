import { main } from '@virtcft/service';
import { failoverService, runFailover } from './run.js';

await main(failoverService, runFailover);
