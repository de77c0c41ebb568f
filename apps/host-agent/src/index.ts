export { hostAgent, runAgent, type AgentSeams, type HostAgentConfiguration } from './run.js';
export { limits } from './limits.js';
