# Calls every operation of an emulator with HTTP::Tiny, and prints the codes.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;

my $url  = $ARGV[0];
my $http = HTTP::Tiny->new;
my $json = JSON::PP->new->canonical;
my $text = '482913 la ma xac minh dang ky Baotrixemay cua ban';
my %keys = (ApiKey => 'any', SecretKey => 'any');
my %sms  = (%keys, Phone => '0901888484', Content => $text, SmsType => '8');

sub answer { my ($got) = @_; die "$got->{status} $got->{content}" unless $got->{success}; decode_json($got->{content}) }
sub post { my ($name, %body) = @_; answer($http->post("$url$name", { headers => { 'Content-Type' => 'application/json' }, content => $json->encode(\%body) })) }
sub get { my ($name, %query) = @_; answer($http->get("$url$name?" . $http->www_form_urlencode(\%query))) }
sub code { my ($answer) = @_; $answer->{CodeResult} // $answer->{CodeResponse} }

my $first = post('SendMultipleMessage_V4_post_json/', %sms);
my %ref   = (%keys, RefId => $first->{SMSID});
my %codes = (
    post_json  => code($first),
    get        => code(get('SendMultipleMessage_V4_get', %sms)),
    form       => code(answer($http->post_form("${url}SendMultipleMessage_V4_post/", \%sms))),
    brandname  => code(post('SendMultipleMessage_V4_post_json/', %sms, SmsType => '2', Brandname => 'Baotrixemay')),
    zalo       => code(post('SendZaloMessage_V6/', %keys, OAID => '1', TempID => '2', Phone => '0901888484', TempData => { otp => '482913' })),
    zalo_status => code(post('GetZaloMessageStatus', %keys, OAID => '1', MessageId => '1')),
    balance    => code(post('GetBalance_json', %keys)),
    status     => code(get('GetSendStatus', %ref)),
    receivers  => code(get('GetSmsReceiverStatus_get', %ref)),
    sent       => code(post('GetSmsSentData_V2', %keys, SmsType => '8', From => '2020-01-01 00:00:00', To => '2099-01-01 00:00:00', Page => '1', PageSize => '9')),
    brandnames => code(answer($http->get("${url}GetListBrandname/any/any"))),
    templates  => code(post('GetTemplate/', %keys, SmsType => '2', Brandname => 'Baotrixemay')),
    price      => code(get('SummaryMultipleMessage_V4_get', %keys, Phone => '0901888484', Content => $text, SmsType => '2', BrandName => 'Baotrixemay')),
);
print $json->encode(\%codes), "\n";
