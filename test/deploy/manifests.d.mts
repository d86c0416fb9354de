/** Types of manifests.mjs, which is also run by hand. */
export const MANIFESTS: Readonly<Record<string, { readonly chart: string; readonly namespace: string }>>;
export function withCharts<T>(work: (folder: string) => T, edit?: (folder: string) => void): T;
export function helm(args: readonly string[], home: string): string;
export function rendered(name: string, charts: string): string;
