import { auditBanks, judgeBanks, type BankStatus } from '@virtcft/lab';

const bank = (address: string, balance: number, peer: string, sent_sum: number, received_sum: number, more: Partial<BankStatus> = {}): BankStatus => ({
  daemon: 'bank', address, moves: 1, received: 1, errors: 0, error: '', reconnects: 0, connected: 1, peers: 1, held: true, initial: 100, balance,
  links: [{ peer, up: true, sent: 1, sent_sum, received: 1, received_sum }], ...more,
});

describe('bank audit', () => {
  it('accepts a total that is conserved', () => {
    expect(judgeBanks([bank('a', 90, 'b', 30, 20), bank('b', 110, 'a', 20, 30)])).toMatchObject({ settled: true, total: 200, expected: 200, complaints: [] });
  });

  it('does not judge the total while money is on the way', () => {
    expect(judgeBanks([bank('a', 60, 'b', 60, 20), bank('b', 110, 'a', 20, 30)])).toMatchObject({ settled: false, complaints: [] });
  });

  it('finds money that was lost, and errors that a bank saw itself', () => {
    const result = judgeBanks([bank('a', 90, 'b', 30, 20), bank('b', 109, 'a', 20, 30, { errors: 1, error: 'a move was lost' })]);
    expect(result.complaints).toEqual(['b: 1 errors, first: a move was lost', 'the total is 199 instead of 200']);
  });

  it('lets the banks go on even when sums never settle', async () => {
    const asked: string[] = [];
    const result = await auditBanks(['a', 'b'], (address, command) => {
      asked.push(command);
      return Promise.resolve(address === 'a' ? bank('a', 60, 'b', 60, 20) : bank('b', 110, 'a', 20, 30));
    }, { timeout_ms: 1 });
    expect(result.complaints).toEqual(['sums did not settle within 1 ms']);
    expect(asked.slice(-2)).toEqual(['go', 'go']);
  });
});
