import type { World } from './world.js';

export type FaultKind = 'host dies' | 'host off the bus' | 'tunnel cut' | 'bus away' | 'store slow' | 'store away' | 'coordinator restarts' | 'two coordinators'
  | 'failover restarts' | 'agent restarts' | 'VM dies' | 'log tail lost' | 'log lost';

export const allFaults: readonly FaultKind[] = ['host dies', 'host dies', 'host off the bus', 'host off the bus', 'tunnel cut', 'bus away', 'store slow', 'store away', 'coordinator restarts',
  'two coordinators', 'failover restarts', 'agent restarts', 'VM dies', 'log tail lost'];

/** With an operator who makes the log anew each time. */
export const logLoss: readonly FaultKind[] = ['log lost', 'host dies', 'VM dies', 'coordinator restarts', 'store slow', 'agent restarts'];

/** Does one fault now and heals it after a while. */
const strike = (world: World, kind: FaultKind): void => {
  const { random, clock, bus, store } = world;
  const host = random.pick(world.hostNames);
  const life = world.life(host);
  switch (kind) {
    case 'host dies':
      life?.die();
      world.comeBack(host, random.between(500, 3_000));
      return;
    case 'host off the bus': {
      if (life === undefined) return;
      life.link.cut = true;
      clock.at(random.between(100, 3_500), () => {
        life.link.cut = false;
        world.linkChanged(life.agent);
        bus.resume();
      });
      return;
    }
    case 'tunnel cut': {
      const other = random.pick(world.hostNames);
      // Often in one direction only.
      const pairs = random.chance(0.5) ? [`${host} ${other}`] : [`${host} ${other}`, `${other} ${host}`];
      for (const pair of pairs) world.cutTunnels.add(pair);
      clock.at(random.between(50, 1_500), () => pairs.forEach((pair) => world.cutTunnels.delete(pair)));
      return;
    }
    case 'bus away':
      bus.away = true;
      clock.at(random.between(100, 2_500), () => {
        bus.away = false;
        for (const name of world.hostNames) {
          const back = world.life(name);
          if (back !== undefined && !back.link.cut) clock.at(random.between(0, 150), () => bus.resume());
        }
        bus.resume();
      });
      return;
    case 'store slow':
      store.slow_ms = random.between(100, 1_500);
      clock.at(random.between(300, 3_000), () => { store.slow_ms = 0; });
      return;
    case 'store away':
      store.away = true;
      clock.at(random.between(100, 2_000), () => { store.away = false; });
      return;
    case 'coordinator restarts': return world.restartCoordinator();
    case 'two coordinators': return world.secondCoordinator();
    case 'failover restarts': return world.restartFailover();
    case 'agent restarts': return life?.restartAgent();
    case 'VM dies': {
      const vm = life === undefined ? undefined : [...life.guests.keys()][0];
      if (life === undefined || vm === undefined || !life.running) return;
      void bus.report(life.link, { type: 'vm.failed', data: { host, agent: life.agent, generation: life.generation, vm, reason: 'signal 9' } });
      return;
    }
    case 'log tail lost':
      if (world.truth.epochs.committed > 2) world.loseTail(1 + random.below(4));
      return;
    case 'log lost':
      if (world.truth.tip !== null) world.loseLog();
  }
};

/** Faults of a run, at random times before `end_ms`; each kind counted. */
export const plan = (world: World, end_ms: number, count: number, kinds: readonly FaultKind[] = allFaults): Record<string, number> => {
  const done: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const kind = world.random.pick(kinds);
    done[kind] = (done[kind] ?? 0) + 1;
    world.clock.at(world.random.between(700, end_ms), () => strike(world, kind));
    // Faults like company: a second one follows soon.
    if (world.random.chance(0.5)) {
      const near = world.random.pick(kinds);
      world.clock.at(world.random.between(700, end_ms), () => {
        strike(world, kind);
        world.clock.at(world.random.between(1, 700), () => strike(world, near));
      });
    }
  }
  return done;
};
