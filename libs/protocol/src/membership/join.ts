import type { DecisionData } from '@virtcft/events';
import type { ClusterState } from '../cluster/state.js';
import type { EpochLedger } from '../epochs/ledger.js';

/**
 * The next VM that comes into the cuts (R20), or null: its host, in the life that runs it in this generation, said that its base is stored. Decided between
 * two barriers; those that are open already are without it.
 */
export const decideJoin = (state: ClusterState, ledger: EpochLedger): DecisionData<'vm.joined'> | null => {
  for (const vm of state.syncing) {
    const host = state.hosts[state.placement[vm] ?? ''];
    const seeded = ledger.seeded.find((each) => each.vm === vm && each.generation === state.generation && each.agent === host?.agent);
    if (seeded !== undefined && host?.status === 'admitted') return { generation: state.generation, vm, image: seeded.image };
  }
  return null;
};
