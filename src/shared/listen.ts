/** Where a port listens, as the settings write it. */
export type ListenAddress =
  | {
      readonly kind: 'tcp';
      /** Name or address; IPv6 without brackets. */ readonly host: string;
      readonly port: number;
    }
  | { readonly kind: 'unix'; readonly path: string };

/** Reads `host:port`, `[v6]:port` or `unix:///absolute/path`. Port 0 asks for a free one. Undefined: none of these. */
export function readListenAddress(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.startsWith('unix:///') ? text.slice('unix://'.length) : '';
    return path.length > 1 && !path.includes('\0') ? { kind: 'unix', path } : undefined;
  }
  const colon = text.lastIndexOf(':');
  if (colon < 1) return undefined;
  const digits = text.slice(colon + 1);
  const port = Number(digits);
  if (!/^[0-9]{1,5}$/.test(digits) || port > 65_535) return undefined;
  const name = text.slice(0, colon);
  const bracketed = name.startsWith('[') && name.endsWith(']');
  const host = bracketed ? name.slice(1, -1) : name;
  if (bracketed ? !/^[0-9a-fA-F:.]{2,45}$/.test(host) : !/^[0-9A-Za-z._-]{1,253}$/.test(host)) return undefined;
  return { kind: 'tcp', host, port };
}

/** The inverse: `127.0.0.1:9001`, `[::1]:9001`, `unix:///run/postern/check.sock`. */
export function listenText(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix://${address.path}`;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** One line that says why a port could not be bound and what to do. `port` is `check` or `admin`; `code` the system's
 *  error code. */
export function bindFailure(port: 'check' | 'admin', address: string, code: string): string {
  const setting = `listen.${port}`;
  switch (code) {
    case 'EADDRINUSE':
      return `${port} port ${address} is taken; stop the program that has it or set ${setting}`;
    case 'EACCES':
    case 'EPERM':
      return `${port} port ${address} may not be bound by this user; choose a port above 1023 or a folder it may write, in ${setting}`;
    case 'EADDRNOTAVAIL':
      return `${port} port ${address}: no interface of this machine has that address; correct ${setting}`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${port} port ${address}: the host name does not resolve; correct ${setting}`;
    case 'ENOENT':
      return `${port} port ${address}: the folder does not exist; make it or correct ${setting}`;
    default:
      return `${port} port ${address} could not be bound (${code}); correct ${setting}`;
  }
}
