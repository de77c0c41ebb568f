export { Lab, type LabHost, type LabOptions } from './lab.js';
export { MANAGEMENT, OUTSIDE, Site, script } from './site.js';
export { LabUnavailable, Namespaces } from './namespaces.js';
export { Program, type Ended, type ProgramOptions } from './program.js';
export { GUEST_PORTS, Load, guestAppend, guestImages, readLoad, type GuestBoot, type GuestImages, type GuestRole } from './guests.js';
export { BankStatus, GapReport, GuestSilent, PatternStatus, askGuest } from './guest-control.js';
export { auditBanks, judgeBanks, type AuditResult } from './bank-audit.js';
