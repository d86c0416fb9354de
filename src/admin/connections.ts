/** A bound on open connections that nobody can hold others off with. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** At most `most` are open. One more takes the place of the one that has been silent for longest: no request of it is
 *  being answered. Where all are being answered, the new one is closed. So connections that were opened and left alone
 *  keep no probe away. */
export function boundConnections(server: Server, most: number): void {
  /** In the order in which they fell silent. */
  const silent = new Set<Socket>();
  let open = 0;
  server.on('connection', (socket: Socket) => {
    open += 1;
    socket.once('close', () => {
      open -= 1;
      silent.delete(socket);
    });
    if (open > most) {
      const [oldest = socket] = silent;
      // Its end is told later, and by then others may have come.
      silent.delete(oldest);
      oldest.destroy();
      if (oldest === socket) return;
    }
    silent.add(socket);
  });
  server.on('request', ({ socket }, outgoing) => {
    silent.delete(socket);
    outgoing.once('close', () => {
      if (!socket.destroyed) silent.add(socket);
    });
  });
}
