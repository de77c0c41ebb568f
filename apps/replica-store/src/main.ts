import { main } from '@virtcft/service';
import { replicaStore, runReplicaStore } from './run.js';

await main(replicaStore, runReplicaStore);
