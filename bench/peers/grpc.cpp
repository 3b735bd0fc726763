/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grpc.cpp - gRPC over a Unix socket: a unary call for each message, by completion queues, without a service's description
 *
 * One thread a side asks its queue; the library's own threads are on the CPU of their side.
 */
#include "peer.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

namespace
{

const char method[] = "/chimaera.Bench/Echo";

/* abstract: no file is left */
std::string address(pid_t client)
{
	return "unix-abstract:chimaera-bench-" + std::to_string(client);
}

grpc::ByteBuffer bytes_of(const peer_message &message)
{
	grpc::Slice slice(&message, sizeof(message));

	return grpc::ByteBuffer(&slice, 1);
}

bool message_of(const grpc::ByteBuffer &bytes, peer_message *ret_message)
{
	grpc::Slice slice;

	if (bytes.Length() != sizeof(*ret_message) || !bytes.DumpToSingleSlice(&slice).ok())
		return false;
	std::memcpy(ret_message, slice.begin(), sizeof(*ret_message));
	return true;
}

/* ---- the other side ---- */

/* One call at a time, then the next: asked for, read, answered. */
class Answer {
    public:
	Answer(grpc::AsyncGenericService *from, grpc::ServerCompletionQueue *by) : service(from), queue(by)
	{
		ask();
	}

	void go_on(bool ok)
	{
		if (!ok || state == State::answers) {
			ask();
		} else if (state == State::asks) {
			state = State::reads;
			stream->Read(&bytes, this);
		} else {
			state = State::answers;
			stream->WriteAndFinish(bytes, grpc::WriteOptions(), grpc::Status::OK, this);
		}
	}

    private:
	enum class State { asks, reads, answers };

	void ask()
	{
		state = State::asks;
		stream.reset();
		context = std::make_unique<grpc::GenericServerContext>();
		stream = std::make_unique<grpc::GenericServerAsyncReaderWriter>(context.get());
		service->RequestCall(context.get(), stream.get(), queue, queue, this);
	}

	grpc::AsyncGenericService *service;
	grpc::ServerCompletionQueue *queue;
	std::unique_ptr<grpc::GenericServerContext> context;
	std::unique_ptr<grpc::GenericServerAsyncReaderWriter> stream;
	grpc::ByteBuffer bytes;
	State state = State::asks;
};

/* Once it ends, nothing may be handed to the queue. */
struct End {
	std::mutex mutex;
	bool is_there = false;
};

void answer_all(grpc::AsyncGenericService *service, grpc::ServerCompletionQueue *queue, End &end)
{
	std::unique_ptr<Answer> answers[PEER_OUTSTANDING];
	void *tag;
	bool ok;

	for (auto &answer : answers)
		answer = std::make_unique<Answer>(service, queue);
	while (queue->Next(&tag, &ok)) {
		std::lock_guard<std::mutex> lock(end.mutex);

		if (!end.is_there)
			static_cast<Answer *>(tag)->go_on(ok);
	}
}

void serve(peer *peer)
{
	grpc::AsyncGenericService service;
	grpc::ServerBuilder builder;
	End end;
	char ready = 0;
	int port = 0;

	builder.AddListeningPort(address(getppid()), grpc::InsecureServerCredentials(), &port);
	builder.RegisterAsyncGenericService(&service);
	auto queue = builder.AddCompletionQueue();
	auto server = builder.BuildAndStart();

	if (!server) {
		peer_tell(peer, "BuildAndStart", -EADDRNOTAVAIL);
		return;
	}
	if (peer_exchange(peer, &ready, &ready, sizeof(ready)) < 0)
		return;
	std::thread waits_for_end([&] {
		char nothing;

		while (read(peer->control, &nothing, 1) < 0 && errno == EINTR)
			;
		end.mutex.lock();
		end.is_there = true;
		end.mutex.unlock();
		server->Shutdown(std::chrono::system_clock::now());
		queue->Shutdown();
	});
	answer_all(&service, queue.get(), end);
	waits_for_end.join();
}

/* ---- this side ---- */

struct Call {
	grpc::ClientContext context;
	std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
	grpc::ByteBuffer answer;
	grpc::Status status;
};

struct Client {
	explicit Client(const std::string &name)
		: channel(grpc::CreateChannel(name, grpc::InsecureChannelCredentials())), stub(channel)
	{
	}

	std::shared_ptr<grpc::Channel> channel;
	grpc::GenericStub stub;
	grpc::CompletionQueue queue;
};

int start(peer *peer)
{
	char ready = 0;
	int rc = peer_fork(peer, serve);

	if (!rc)
		rc = peer_exchange(peer, &ready, &ready, sizeof(ready));
	if (rc)
		return rc;
	auto *client = new Client(address(getpid()));

	peer->own = client;
	if (!client->channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5)))
		return peer_tell(peer, "WaitForConnected", -ETIMEDOUT);
	return 0;
}

int send_messages(peer *peer, uint32_t n)
{
	auto *client = static_cast<Client *>(peer->own);

	for (uint32_t i = 0; i < n; i++) {
		peer_message message = {};
		auto *call = new Call;

		peer_fill(peer, &message);
		call->reader = client->stub.PrepareUnaryCall(&call->context, method, bytes_of(message), &client->queue);
		call->reader->StartCall();
		call->reader->Finish(&call->answer, &call->status, call);
	}
	return 0;
}

int receive(peer *peer)
{
	auto *client = static_cast<Client *>(peer->own);
	peer_message message;
	void *tag;
	bool ok;

	if (!client->queue.Next(&tag, &ok))
		return peer_tell(peer, "Next", -EPIPE);
	std::unique_ptr<Call> call(static_cast<Call *>(tag));

	if (!ok || !call->status.ok() || !message_of(call->answer, &message))
		return peer_tell(peer, call->status.error_message().c_str(), -EBADMSG);
	peer_take(peer, &message);
	return 1;
}

void stop(peer *peer)
{
	auto *client = static_cast<Client *>(peer->own);

	peer_end(peer);
	if (client) {
		void *tag;
		bool ok;

		client->queue.Shutdown();
		while (client->queue.Next(&tag, &ok))
			delete static_cast<Call *>(tag);
	}
	delete client;
}

bench_peer table()
{
	bench_peer made = {};

	made.name = "grpc";
	made.help = "gRPC over a Unix socket: a unary call a message";
	made.start = start;
	made.send = send_messages;
	made.receive = receive;
	made.stop = stop;
	return made;
}

}

extern "C" {
extern const bench_peer bench_peers_grpc[];
const bench_peer bench_peers_grpc[] = { table(), {} };
}
