// workers.js: how the servers of Node's cluster module start and end.
const cluster = require('cluster');
const net = require('net');

function endAll() {
    for (const worker of Object.values(cluster.workers)) {
        worker.process.kill('SIGKILL');
    }
    process.exit(0);
}

function forkAll(count) {
    for (let i = 0; i < count; i++) {
        cluster.fork();
    }
}

// Calls listening(workers, port) when so many more workers listen.
function onceAll(count, listening) {
    let fresh = [];
    cluster.on('listening', (worker, address) => {
        fresh.push(worker);
        if (fresh.length === count) {
            const workers = fresh;
            fresh = [];
            listening(workers, address.port);
        }
    });
}

// Prints "ready PORT PID ..." with the pids, the parent's first.
function announce(workers, port) {
    console.log('ready', port, process.pid, ...workers.map((worker) => worker.process.pid));
}

// In a worker.
function serve(server) {
    cluster.worker.on('error', () => process.exit()); // the parent has ended
    server.listen(0, '127.0.0.1', 1024);
}

// WORKERS processes, as the command line says, each with what makeServer returns, until
// standard input ends.
function run(makeServer) {
    if (!cluster.isPrimary) {
        serve(makeServer());
        return;
    }
    const wanted = Number(process.argv[2]);
    onceAll(wanted, announce);
    forkAll(wanted);
    process.stdin.resume();
    process.stdin.on('end', endAll);
}

// Calls answer(connection, line) for each line that comes.
function lineServer(answer) {
    return net.createServer((connection) => {
        let data = '';
        connection.on('data', (more) => {
            data += more;
            if (data.endsWith('\n')) {
                const line = data;
                data = '';
                answer(connection, line);
            }
        });
        connection.on('error', () => {});
    });
}

module.exports = {announce, endAll, forkAll, lineServer, onceAll, run, serve};
