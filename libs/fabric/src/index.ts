export { FabricError } from './errors.js';
export { Fabric, openFabric } from './fabric.js';
export type { ChannelState } from './fabric.js';
export { LIMITS } from './limits.js';
export type { FabricSettings } from './validation.js';
export type { ChannelFrame, FabricEvent, FabricGeneration, FabricPeer, FabricPort, FabricStats } from '@virtcft/native';
