import { main } from '@virtcft/service';
import { drill, runDrill } from './run.js';

await main(drill, runDrill);
