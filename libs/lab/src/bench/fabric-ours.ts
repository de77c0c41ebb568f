// Runs inside a machine of the lab: the product's switch between two TAPs, until it is ended. Usage: <tap> <MAC> <tap> <MAC> <mtu>
import { randomBytes, randomUUID } from 'node:crypto';
import { openFabric } from '@virtcft/fabric';

const [one = '', macOfOne = '', two = '', macOfTwo = '', mtu = ''] = process.argv.slice(2);
const fabric = openFabric({ cluster: randomUUID(), host: 0, life: randomUUID(), secret: randomBytes(32), tunnel: { address: '127.0.0.1', port: 4789 }, edge: null, mtu: Number(mtu) }, (events) => {
  for (const event of events) process.stdout.write(`${JSON.stringify(event)}\n`);
});
await fabric.setGeneration({ generation: 1, incarnation: randomUUID(), colour: 1, peers: [], macs: [{ mac: macOfOne, host: 0 }, { mac: macOfTwo, host: 0 }] }, null);
await fabric.addPort({ nic: macOfOne, tap: one });
await fabric.addPort({ nic: macOfTwo, tap: two });
process.once('SIGTERM', () => { fabric.close(); process.exit(); });
setInterval(() => undefined, 1 << 30); // the fabric's thread keeps no process alive
