/** Types of tools.mjs, which runs before anything is compiled. */
export const TOOLS: string;
export const VERSIONS: Readonly<Record<string, string>>;
export const KUBERNETES: string;
export function tool(name: string): string;
export function kubernetesSchemas(): string;
export function getDeployTools(): string[];
