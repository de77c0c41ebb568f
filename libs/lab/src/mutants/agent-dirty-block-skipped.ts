// Lab only: an agent that breaks I5 for disks. What some epochs wrote to them is in no segment.
import { hostAgent, runAgent } from '@virtcft/host-agent';
import { GuestDisk } from '@virtcft/native';
import { main } from '@virtcft/service';
import { skipping } from './skipping-disk.js';

await main(hostAgent, (configuration) => runAgent(configuration, { openDisk: (options) => skipping(new GuestDisk(options)) }));
