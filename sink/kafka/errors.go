package kafka

import (
	"errors"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/tidbcdc/tidbcdc/sink"
)

// isRetriable reports whether a request that failed may be sent again as it is,
// because the cluster is changing or could not be reached. It may have been carried
// out all the same, which its sequence numbers then show to the broker.
func isRetriable(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return true // the network, or a layout of the cluster that is not up to date
	}
	switch code {
	case kafka.InvalidMessage: // its checksum is wrong: damaged on the way
		return true
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
		kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable, kafka.ListenerNotFound, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch:
		return true
	case kafka.RequestTimedOut, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend,
		kafka.NetworkException, kafka.KafkaStorageError, kafka.PreferredLeaderNotAvailable:
		return true
	case kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup,
		kafka.ConcurrentTransactions, kafka.NotController:
		return true
	}
	return code == kafka.ThrottlingQuotaExceeded
}

// movesLeader reports whether the error says that the layout of the cluster is out
// of date.
func movesLeader(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return true
	}
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.BrokerNotAvailable,
		kafka.ReplicaNotAvailable, kafka.KafkaStorageError, kafka.FencedLeaderEpoch, kafka.NetworkException:
		return true
	}
	return false
}

func isTooLarge(err error) bool {
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge)
}

// notInLayout reports whether kafka-go does not know where to send a request: the
// topic is new, or nothing is known because no broker could be reached.
func notInLayout(err error) bool {
	return errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition) || errors.Is(err, protocol.ErrNoLeader)
}

// final marks errors about what is written, which is the same at the next attempt.
// Others, such as those about rights, may be mended from outside.
func final(err error) error {
	var code kafka.Error
	if !errors.As(err, &code) {
		return err
	}
	switch code {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.InvalidRequiredAcks, kafka.InvalidTimestamp,
		kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType, kafka.PolicyViolation, kafka.InvalidRecord:
		return sink.Permanent(err)
	}
	return err
}
