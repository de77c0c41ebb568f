// Runs inside a host of the lab that has a Xen: the product's agent, outside dom0, whose driver reaches into it.
import { connect } from 'node:net';
import { hostAgent, runAgent } from '@virtcft/host-agent';
import { createXenDriver } from '@virtcft/hypervisor';
import { main } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { Dom0 } from './dom0.js';
import { cabling, Emulator } from './emulator.js';
import { AGENT_PORT, STOP_BUDGET_MS, SUSPEND_MS } from './limits.js';

const log = logger('host-agent');
const environment = z.object({
  VIRTCFT_LAB_DOM0: z.ipv4().describe('address of dom0'),
  VIRTCFT_LAB_MACHINE: z.string().describe('control socket of the machine that QEMU emulates'),
  VIRTCFT_LAB_PROGRAM: z.string().describe('path of virtcft-xen in dom0'),
});

await main(hostAgent, async (configuration, health) => {
  const { VIRTCFT_LAB_DOM0: address, VIRTCFT_LAB_MACHINE: control, VIRTCFT_LAB_PROGRAM: program } = environment.parse(process.env);
  const host = configuration.VIRTCFT_HOST;
  const dom0 = new Dom0(host, () => connect({ host: address, port: AGENT_PORT }), `the console of ${host}`);
  let machine: Promise<Emulator> | null = null;
  const driver = await createXenDriver({
    program, owner: host, suspend_ms: SUSPEND_MS, stop_budget_ms: STOP_BUDGET_MS, log: (message, fields) => { log.info({ ...fields }, message); },
    transport: { run: (words, input) => dom0.exec(words, input), open: (words) => dom0.open(words) },
    cabling: cabling(() => (machine ??= Emulator.open(control, host))),
  });
  await runAgent(configuration, { health, driver: () => driver });
});
