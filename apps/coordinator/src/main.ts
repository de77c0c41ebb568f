import { main } from '@virtcft/service';
import { coordinatorService, runCoordinator } from './run.js';

await main(coordinatorService, runCoordinator);
