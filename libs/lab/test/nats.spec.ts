import { Bus, BusRefused } from '@virtcft/bus';
import { Lab, LabNats } from '@virtcft/lab';

describe('the lab\'s bus', () => {
  let lab: Lab;
  beforeAll(async () => { lab = await Lab.open(); });
  afterAll(async () => { await lab.close(); });

  it('lets each service in under its own name only, and keeps its data over a restart', async () => {
    const nats = await LabNats.start(lab, ['coordinator', 'operator']);
    const coordinator = await Bus.connect(nats.options('coordinator'));
    await coordinator.provisionStreams();
    await coordinator.close();
    await expect(Bus.connect({ ...nats.options('coordinator'), password: 'wrong' })).rejects.toThrow(BusRefused);
    await nats.restart();
    const operator = await Bus.connect(nats.options('operator'));
    await operator.awaitStreams(5_000);
    expect(await operator.readDecisions('nobody')).toEqual([]);
    await operator.close();
    await nats.stop();
  });
});
