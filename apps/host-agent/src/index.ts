export { hostAgent, runAgent, type AgentSeams, type HostAgentConfiguration } from './run.js';
export { limits } from './limits.js';
// For measurements of the cut itself.
export { cutHost } from './cut/host-cut.js';
export { HostedVm } from './disks/hosted-vm.js';
