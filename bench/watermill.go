package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillhttp "github.com/ThreeDotsLabs/watermill-http/v2/pkg/http"
	watermillnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
)

// startWatermill wires Watermill as its examples do: the options of its NATS JetStream
// example, and the router of its example of sending webhooks, which hands each message
// to the HTTP publisher. Tuned gives it what a person would who had measured: an HTTP
// client that keeps a connection for each message in flight, and acks that do not wait
// for the server. Its examples have neither.
func startWatermill(ctx context.Context, j job, tuned bool) (loop, error) {
	logger := watermill.NewStdLogger(false, false)
	subscriber, err := watermillnats.NewSubscriber(watermillnats.SubscriberConfig{
		URL: j.NATS, CloseTimeout: 30 * time.Second, AckWaitTimeout: 30 * time.Second,
		NatsOptions: []nats.Option{
			nats.RetryOnFailedConnect(true), nats.Timeout(30 * time.Second), nats.ReconnectWait(time.Second),
		},
		// Several subscribers share a topic in a queue group only.
		QueueGroupPrefix: "watermill", SubscribersCount: j.InFlight,
		SubjectCalculator: func(prefix, topic string) *watermillnats.SubjectDetail {
			return &watermillnats.SubjectDetail{Primary: topic, QueueGroup: durable(prefix, topic)}
		},
		JetStream: watermillnats.JetStreamConfig{
			SubscribeOptions: []nats.SubOpt{nats.DeliverAll(), nats.AckExplicit()},
			DurablePrefix:    "watermill", DurableCalculator: durable,
			AckAsync: tuned,
		},
	}, logger)
	if err != nil {
		return loop{}, err
	}
	toHook := watermillhttp.PublisherConfig{MarshalMessageFunc: watermillhttp.DefaultMarshalMessageFunc}
	if tuned {
		toHook.Client = &http.Client{Timeout: postTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: j.Routes * j.InFlight}}
	}
	publisher, err := watermillhttp.NewPublisher(toHook, logger)
	if err != nil {
		return loop{}, err
	}
	router, err := message.NewRouter(message.RouterConfig{}, logger)
	if err != nil {
		return loop{}, err
	}
	for i := range j.Routes {
		router.AddHandler(fmt.Sprint("route", i), fmt.Sprint("bench.", i), subscriber, j.Hook, publisher,
			func(m *message.Message) ([]*message.Message, error) { return message.Messages{m}, nil })
	}
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	select {
	case <-router.Running():
	case err := <-ended:
		return loop{}, err
	}
	// Nobody closes it: handlers that share a publisher close it at once, which is a data
	// race (watermill-http 2.3.1). It ends with the process.
	return loop{stop: func() error { return nil }}, nil
}

// durable is the consumer's name: one for each topic.
func durable(prefix, topic string) string { return prefix + "-" + strings.ReplaceAll(topic, ".", "-") }
