// Runs inside a host of the lab that has a Xen: the product's switch, its gate at the host's edge, ordered over the channel to who started it.
import { readFileSync } from 'node:fs';
import { openFabric } from '@virtcft/fabric';
import type { SwitchAnswer, SwitchQuestion, SwitchSettings } from './host-switch.js';

const settings = JSON.parse(process.argv[2] ?? '') as SwitchSettings;
const fabric = openFabric({ ...settings.open, secret: readFileSync(settings.secretFile) }, (events) => { for (const event of events) process.stdout.write(`${JSON.stringify(event)}\n`); });
await fabric.setGeneration({ ...settings.wiring, peers: [...settings.wiring.peers], macs: [...settings.wiring.macs] }, null);

async function answer(question: SwitchQuestion): Promise<unknown> {
  switch (question.ask) {
    case 'port': return fabric.addPort({ nic: question.mac, path: question.fabric, peerPath: question.guest });
    case 'pass': return fabric.setPassThrough(question.pass);
    case 'cut':
      await fabric.hold();
      await fabric.flip(question.epoch);
      return fabric.release();
    case 'commit': return fabric.releaseOutput(question.epoch);
    case 'stats': return fabric.stats();
  }
}

process.on('message', (question: SwitchQuestion) => {
  answer(question).then(
    (value) => { process.send?.({ id: question.id, value: value ?? null } satisfies SwitchAnswer); },
    (error: unknown) => { process.send?.({ id: question.id, failed: error instanceof Error ? error.message : String(error) } satisfies SwitchAnswer); },
  );
});
process.once('disconnect', () => { process.exit(0); });
process.send?.({ id: 0, value: null } satisfies SwitchAnswer);
