import { Bus } from '../src/index.js';
import { eventStoreContract } from './contract.js';
import { MemoryStore } from './memory-store.js';
import { TestServer } from './nats-server.js';

let server: TestServer;
let bus: Bus;
beforeAll(async () => {
  server = await TestServer.start();
  bus = await Bus.connect({ servers: server.url, name: 'coordinator' });
  await bus.provisionStreams();
});
afterAll(async () => {
  await bus.close();
  await server.stop();
});

eventStoreContract('NATS JetStream', async () => bus);
eventStoreContract('memory', async () => new MemoryStore());
