export { FabricError } from './errors.js';
export { Fabric, openFabric } from './fabric.js';
export type { ChannelState } from './fabric.js';
export { LIMITS } from './limits.js';
export { readSecret, SecretUnusable } from './secret.js';
export type { FabricSettings, FabricWiring } from './validation.js';
export type { ChannelFrame, FabricEvent, FabricGeneration, FabricOutputState, FabricPeer, FabricPeerStats, FabricPort, FabricPortStats, FabricSocketPort, FabricStats, FabricTapPort } from '@virtcft/native';
