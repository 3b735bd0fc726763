/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_retire.pml - the lanes of a client that ended are dropped for a worker that is in a method
 *
 * Two rounds of posts (work_orchestrator.c, R1-R3). The worker finds them in its list `retires` when it is in its loop; who stands in
 * for it does while it is in a method (lane_take.c, whose entering and leaving lane_take.pml checks: here it is one step, so `running`
 * is seen as it is). The other workers are one, which is always in its loop. The lane may be anywhere: in the worker's lists, in its
 * turn, and with it in a method; or about to be moved by its worker, who looks whether it is retired first. Methods of the worker may end
 * or not. When both rounds are over the lane is freed.
 *
 * Checked: nobody touches the lane after it is freed, or finds it in a list; each part of a round is counted once, so no round is over
 * before all have passed it; the client's end waits for the worker only when that is in the lane's turn, or is to move it.
 *
 * red   PEEKED         counted_twice  who stands in does the part and leaves the post where it is
 * red   IN_LOOP        touched        who stands in does not look whether the worker is in a method
 * red   IN_TURN        touched        who stands in drops the lane in its turn
 * red   MOVE_LOST      touched        who stands in drops the lane whose node for moving is under way to the worker
 * red   ONE_ROUND      touched        round two is not put off until all have passed round one
 * red   NOT_PUT_BACK   waits          who stands in takes a post that has to wait, and forgets it
 * red   NOT_AGAIN      waits          who stands in looks once, when the hang is found, and not for the second round
 * reach FOR_BOTH       both rounds were passed for a worker that never came back
 * reach SPLIT          round one was passed for it, round two by itself
 * reach PUT_BACK       a post waited for the turn's end
 * reach MOVED          the lane was moved after it was retired, before its old worker passed round one
 */
#include "common.inc"
#define W	0	/* the worker that may hang */
#define O	1	/* the other */

bit posted[2];			/* in `retires` */
bit moves;			/* moves: the node is in W's inbox */
byte round, n_left, owner;
bit retired, freed;
bit in_method, in_turn;		/* of W: in the lane's turn */
bit counted[2];			/* in this round */
bit moving, hangs, never_back;
byte listed;			/* in the lists of: W + 1, O + 1; 0: none */
bit by_stand_in, put_back;
byte n_stood_in;
hidden byte counted_twice, touched, waits;

inline touch() { CHECK(touched, !freed) }

inline post_round()
{
	n_left = 2; posted[W] = 1; posted[O] = 1; counted[W] = 0; counted[O] = 0
}

/* retire_step(): the part of worker w; the caller has taken the post */
inline part(w)
{
	if
	:: round == 2 && owner == w -> touch(); listed = 0
	:: else
	fi;
	CHECK(counted_twice, !counted[w]);
	counted[w] = 1;
	n_left--;
	if
	:: n_left == 0 && round == 1 -> round = 2; post_round()
	:: n_left == 0 && round == 2 -> round = 3; CHECK(touched, listed == 0); freed = 1
	:: else
	fi
}

/* may_drop_for() */
#ifdef BREAK_IN_TURN
#define FREE_OF_TURN	1
#else
#define FREE_OF_TURN	(!in_turn)
#endif
#ifdef BREAK_MOVE_LOST
#define NOT_TO_MOVE	1
#else
#define NOT_TO_MOVE	(!moves)
#endif
#define MAY_PASS	(round == 1 || owner != W || (FREE_OF_TURN && NOT_TO_MOVE))

#ifdef BREAK_IN_LOOP
#define IN_METHOD	1
#else
#define IN_METHOD	in_method
#endif
#ifdef BREAK_NOT_AGAIN
#define AGAIN	(n_stood_in == 0)
#else
#define AGAIN	1
#endif
#ifdef BREAK_NOT_PUT_BACK
#define TAKES	1
#else
#define TAKES	MAY_PASS	/* what may not be done is put back as it was */
#endif

proctype worker()
{
	do
	/* its loop: the inbox, then `retires` */
	:: atomic { moves && !in_method && !in_turn ->
		touch();
		moving = (owner == W && !retired);
		if
		:: !moving -> moves = 0
		:: else -> touch(); listed = 0
		fi }
		if
		:: moving ->
			atomic { touch();
#ifdef REACH_MOVED
				REACHED(retired);
#endif
				owner = O; listed = O + 1; moves = 0; moving = 0 }
		:: else
		fi
	:: atomic { posted[W] && !in_method && !in_turn ->
		if
		:: round == 2 && owner == W && moves	/* again, after the inbox */
		:: else ->
			posted[W] = 0;
#ifdef REACH_SPLIT
			REACHED(round == 2 && by_stand_in);
#endif
			part(W)
		fi }
	/* a turn of the lane; it may run a method in it */
	:: atomic { listed == W + 1 && !in_method && !in_turn -> touch(); in_turn = 1 }
		if
		:: in_method = 1;
			if
			:: atomic { in_method = 0 }
			:: atomic { hangs -> never_back = 1 } break
			fi
		:: skip
		fi;
		atomic { touch(); in_turn = 0 }
	/* a method of another lane */
	:: atomic { !in_method && !in_turn -> in_method = 1 }
		if
		:: atomic { in_method = 0 }
		:: atomic { hangs -> never_back = 1 } break
		fi
	od
}

proctype other()
{
	do
	:: atomic { posted[O] -> posted[O] = 0; part(O) }
	od
}

/* chi_watchdog_retire(): at a post, or a look */
proctype stands_in()
{
	hangs = 1;
	do
	:: atomic { posted[W] && IN_METHOD && AGAIN && TAKES ->
		n_stood_in++;
#ifdef REACH_PUT_BACK
		REACHED(put_back);
#endif
		if
		:: MAY_PASS ->
#ifndef BREAK_PEEKED
			posted[W] = 0;
#endif
			by_stand_in = (round == 1 -> 1 : by_stand_in);
			part(W);
#ifdef REACH_FOR_BOTH
			REACHED(round == 3 && by_stand_in && never_back);
#endif
		:: else -> posted[W] = 0
		fi }
	:: atomic { posted[W] && in_method && !MAY_PASS && !put_back -> put_back = 1 }
	od
}

proctype ipc()
{
	/* the balancer asks, or not, while the lane is in the list of lanes: before it was dropped */
	if
	:: atomic { owner == W -> moves = 1 }
	:: skip
	fi;
	atomic { retired = 1;
#ifdef BREAK_ONE_ROUND
		round = 2;
#else
		round = 1;
#endif
		post_round() }
}

init {
	atomic { owner = W; listed = W + 1; run worker(); run other(); run stands_in(); run ipc() }
	timeout ->
	CHECK(waits, freed || (never_back && (in_turn || moves)))
}
