import type { Decision, CutRef } from '@virtcft/events';
import { hearColour, newAgent, react, sealOverdue, wiring, type AgentOrder, type AgentState } from '../src/agent/index.js';

const me = { host: 'host-a', agent: '00000000-0000-4000-8000-00000000000a' };
const peer = { host: 'host-b', agent: '00000000-0000-4000-8000-00000000000b' };
const spare = { host: 'host-c', agent: '00000000-0000-4000-8000-00000000000c' };
const identity = { driver: 'qemu', version: '7.2', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;
const incarnation = 'ab'.repeat(16);
const cut = (epoch: number): CutRef => ({ key: `k/${epoch}`, hash: 'cd'.repeat(32), generation: 1, epoch });

const spec = {
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['host-a', 'host-b', 'host-c'], interval_ms: 100, window: 2, epoch_deadline_ms: 5000,
  held_output_bytes: 65_536, mtu: 1_500, protect: true, verify_every: 0, clock: 'stop', policies: { data_loss: 'halt', recovery_attempts: 5 },
  vms: ['one', 'two'].map((name, at) => ({ name, memory_mib: 128, vcpus: 1, kernel: '/k', append: '', mac: `52:54:00:00:00:0${at}` })),
} as const;

const admit = (host: { host: string; agent: string }, number: number): Decision => ({
  type: 'host.admitted', data: { ...host, number, tunnel: { address: `10.0.0.${number + 1}`, port: 4789 }, identity, memory_mib: 4096, vcpus: 2 },
});
const members = [{ ...me, vms: ['one'] }, { ...peer, vms: ['two'] }];
const setup: Decision[] = [
  { type: 'cluster.created', data: { log: incarnation, spec: structuredClone(spec) as never } },
  admit(me, 0), admit(peer, 1), admit(spare, 2),
  { type: 'cluster.started', data: { generation: 1, incarnation, epoch: 1, placement: { one: 'host-a', two: 'host-b' }, disks: null } },
];
const opened = (epoch: number, generation = 1): Decision => ({ type: 'epoch.opened', data: { generation, epoch, members } });
const openedInTwo = (epoch: number): Decision => ({ type: 'epoch.opened', data: { generation: 1, epoch, members, barrier: 'two-phase' } });
const sealed = (epoch: number, generation = 1): Decision => ({ type: 'epoch.sealed', data: { generation, epoch } });
const aborted = (epoch: number): Decision => ({ type: 'epoch.aborted', data: { generation: 1, epoch, reason: 'deadline', missing: [] } });
const committed = (epoch: number, generation = 1): Decision => ({ type: 'epoch.committed', data: { generation, epoch, cut: cut(epoch), previous: null } });
const raising = (lost: { host: string; agent: string }[], generation = 2): Decision => ({
  type: 'generation.raising', data: { generation, cause: { kind: 'host-lost', lost, vms: [], detail: 'silent', cut: null } },
});
const raised: Decision = { type: 'generation.raised', data: { generation: 2, incarnation: 'ef'.repeat(16), basis: cut(3), ahead_ms: 640 } };

function given(decisions: readonly Decision[], who = me): { state: AgentState; orders: AgentOrder[] } {
  let state = newAgent(who);
  const orders: AgentOrder[] = [];
  for (const decision of decisions) {
    const reaction = react(state, decision);
    state = reaction.state;
    orders.push(...reaction.orders);
  }
  return { state, orders };
}
const kinds = (orders: readonly AgentOrder[]): string[] => orders.map(({ kind }) => kind);

describe('the agent', () => {
  it('joins, starts its own VMs and wires the hosts that have VMs', () => {
    const { orders, state } = given(setup);
    expect(kinds(orders)).toEqual(['join', 'start', 'gate']);
    expect(orders[1]).toMatchObject({ vms: ['one'], wiring: { generation: 1, colour: 1, peers: [{ host: 1, life: peer.agent, address: '10.0.0.2' }] } });
    expect(wiring(state, 1).macs).toEqual([{ mac: '52:54:00:00:00:00', host: 0 }, { mac: '52:54:00:00:00:01', host: 1 }]);
  });

  it('wires MTU and bound as the cluster file says that a stopped cluster was given', () => {
    const changed: Decision = { type: 'cluster.changed', data: { spec: { ...structuredClone(spec), mtu: 9_000, held_output_bytes: 131_072 } as never } };
    const again: Decision = { type: 'cluster.started', data: { generation: 2, incarnation: 'ef'.repeat(16), epoch: 5, placement: { one: 'host-a', two: 'host-b' } } };
    const { orders } = given([...setup, { type: 'cluster.stopped', data: { by: 'me' } }, changed, again]);
    expect(orders.filter(({ kind }) => kind === 'start')).toMatchObject([{ wiring: { mtu: 1_500, heldOutputBytes: 65_536 } }, { wiring: { mtu: 9_000, heldOutputBytes: 131_072 } }]);
  });

  it('does nothing about decisions older than its own admission', () => {
    expect(given(setup.filter((decision) => decision.type !== 'host.admitted')).orders).toEqual([]);
  });

  it('cuts at the barrier, once (R5)', () => {
    const { orders } = given([...setup, opened(1), opened(1)]);
    expect(orders.filter(({ kind }) => kind === 'cut')).toEqual([{ kind: 'cut', epoch: 1, vms: ['one'] }]);
  });

  it('a frame of a newer colour is the barrier; the decision that follows changes nothing (R5)', () => {
    const { state } = given(setup);
    const heard = hearColour(state, 2);
    expect(heard.orders).toEqual([{ kind: 'cut', epoch: 1, vms: ['one'] }]);
    expect(react(heard.state, opened(1)).orders).toEqual([]);
    expect(hearColour(heard.state, 2).orders).toEqual([]);
  });

  it('flips without a capture when an epoch aborts that it never cut (R5)', () => {
    expect(given([...setup, aborted(1)]).orders.at(-1)).toEqual({ kind: 'flip', epoch: 1 });
    expect(kinds(given([...setup, opened(1), aborted(1)]).orders)).not.toContain('flip');
  });

  it('releases only on a commit of its own generation (R8, I3)', () => {
    expect(given([...setup, opened(1), committed(1)]).orders.at(-1)).toEqual({ kind: 'commit', epoch: 1 });
    expect(kinds(given([...setup, opened(1), committed(1, 7)]).orders)).not.toContain('commit');
  });

  it('stops at the raise, and cuts nothing of the old generation any more (R16)', () => {
    const { orders } = given([...setup, raising([peer]), opened(1), opened(2)]);
    expect(orders.at(-1)).toEqual({ kind: 'stop', generation: 2 });
  });

  it('loads what the plan gives it from the basis, and runs only when all are loaded (R17)', () => {
    const plan: Decision = {
      type: 'recovery.planned',
      data: { generation: 2, epoch: 5, placement: { one: 'host-a', two: 'host-a' }, members: [me, spare], moves: [{ vm: 'two', from: 'host-b', to: 'host-a' }] },
    };
    const { orders, state } = given([...setup, raising([peer]), raised, plan]);
    expect(orders.slice(-2)).toMatchObject([{ kind: 'load', basis: { epoch: 3 }, vms: ['one', 'two'], wiring: { generation: 2, colour: 5, peers: [] }, ahead_ms: 640 }, { kind: 'gate', open: false }]);
    expect(state.phase).toBe('loading');
    expect(react(state, { type: 'recovery.resumed', data: { generation: 1 } }).orders).toEqual([]);
    expect(react(state, { type: 'recovery.resumed', data: { generation: 2 } }).orders).toEqual([{ kind: 'resume', generation: 2, vms: ['one', 'two'] }]);
  });

  it('ends when the cluster goes on without it, and never acts again (I3)', () => {
    const { orders, state } = given([...setup, raising([me]), raised, opened(6, 2), committed(6, 2)]);
    expect(orders.at(-1)).toMatchObject({ kind: 'end' });
    expect(state.phase).toBe('over');
  });

  it('ends when another life of its host is admitted', () => {
    expect(given([...setup, admit({ host: 'host-a', agent: peer.agent }, 0)]).orders.at(-1)).toMatchObject({ kind: 'end' });
  });

  it('a spare answers the raise too, and takes no part in cuts', () => {
    const { orders } = given([...setup, opened(1), committed(1), raising([peer])], spare);
    expect(kinds(orders)).toEqual(['join', 'start', 'gate', 'commit', 'stop']);
  });

  it('opens the gate only by decision (R11)', () => {
    expect(given([...setup, { type: 'protection.disabled', data: { by: 'operator' } }]).orders.at(-1)).toEqual({ kind: 'gate', open: true });
    expect(given([...setup, { type: 'protection.enabled', data: { by: 'operator' } }]).orders.at(-1)).toEqual({ kind: 'gate', open: false });
  });
});

describe('the agent at a two-phase barrier (R4a)', () => {
  const standing = given([...setup, openedInTwo(1)]);

  it('stands still at the barrier, once, and captures at its seal, once', () => {
    expect(standing.orders.at(-1)).toEqual({ kind: 'reach', epoch: 1, vms: ['one'] });
    expect(react(standing.state, openedInTwo(1)).orders).toEqual([]);
    const after = react(standing.state, sealed(1));
    expect(after.orders).toEqual([{ kind: 'cut', epoch: 1, vms: ['one'] }]);
    expect(after.state).toMatchObject({ closed: 1, standing: null });
    expect(react(after.state, sealed(1)).orders).toEqual([]);
  });

  it('takes a frame of a newer colour for the seal; the decision that follows changes nothing (R5)', () => {
    const heard = hearColour(standing.state, 2);
    expect(heard.orders).toEqual([{ kind: 'cut', epoch: 1, vms: ['one'] }]);
    expect(react(heard.state, sealed(1)).orders).toEqual([]);
    expect(sealOverdue(heard.state, 1).orders).toEqual([]);
  });

  it('runs on when the seal does not come in time, and a seal that comes later changes nothing', () => {
    const after = sealOverdue(standing.state, 1);
    expect(after.orders).toEqual([{ kind: 'give-up', epoch: 1 }]);
    expect(react(after.state, sealed(1)).orders).toEqual([]);
    expect(react(after.state, aborted(1)).orders).toEqual([]);
    expect(react(after.state, openedInTwo(2)).orders).toEqual([{ kind: 'reach', epoch: 2, vms: ['one'] }]);
  });

  it('gives up nothing that it does not stand for', () => {
    expect(sealOverdue(given(setup).state, 1).orders).toEqual([]);
    expect(sealOverdue(react(standing.state, sealed(1)).state, 1).orders).toEqual([]);
    const next = given([...setup, openedInTwo(1), sealed(1), openedInTwo(2)]);
    expect(sealOverdue(next.state, 1).orders).toEqual([]);
  });

  it('runs on without a capture when the epoch aborts while it stands', () => {
    const after = react(standing.state, aborted(1));
    expect(after.orders).toEqual([{ kind: 'flip', epoch: 1 }]);
    expect(react(after.state, sealed(1)).orders).toEqual([]);
  });

  it('stops as ever at a raise while it stands, and is sealed by nothing of the old generation (R16)', () => {
    const after = react(standing.state, raising([peer]));
    expect(after.orders).toEqual([{ kind: 'stop', generation: 2 }]);
    expect(react(after.state, sealed(1)).orders).toEqual([]);
    expect(sealOverdue(after.state, 1).orders).toEqual([]);
  });

  it('runs on when protection ends or the cluster is stopped while it stands', () => {
    expect(react(standing.state, { type: 'protection.disabled', data: { by: 'operator' } }).orders).toEqual([{ kind: 'flip', epoch: 1 }, { kind: 'gate', open: true }]);
    const stopped = react(standing.state, { type: 'cluster.stopped', data: { by: 'operator' } });
    expect(stopped.orders).toEqual([{ kind: 'empty' }]);
    expect(sealOverdue(stopped.state, 1).orders).toEqual([]);
  });

  it('a seal of another generation is none', () => {
    expect(react(standing.state, sealed(1, 2)).orders).toEqual([]);
  });

  it('that was not asked flips at the seal', () => {
    const without: Decision = { type: 'epoch.opened', data: { generation: 1, epoch: 1, members: [{ ...peer, vms: ['two'] }], barrier: 'two-phase' } };
    expect(kinds(given([...setup, without]).orders)).not.toContain('flip');
    expect(given([...setup, without, sealed(1)]).orders.at(-1)).toEqual({ kind: 'flip', epoch: 1 });
  });
});
